//! One style for options: public fields to read, and a method of the same name to set each.

/// Writes a method for each named field, which returns the options with that field set.
macro_rules! setters {
    ($options:ident: $($field:ident: $value:ty),+ $(,)?) => {
        impl $options {
            $(
                #[doc = concat!("Returns the options with [`Self::", stringify!($field), "`] set.")]
                #[must_use]
                pub fn $field(mut self, $field: $value) -> Self {
                    self.$field = $field.into();
                    self
                }
            )+
        }
    };
}

pub(crate) use setters;

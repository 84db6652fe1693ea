//! The stream: a ring of bytes with one publisher and any number of subscribers.
//!
//! | file | idea |
//! |---|---|
//! | [`view`] | the shared memory and the geometry of a stream |
//! | [`publisher`] | committing frames |
//! | [`subscriber`] | walking along them |
//! | [`places`] | the two places that the publisher keeps: the lowest intact one, and a recent one |

pub mod places;
pub mod publisher;
pub mod subscriber;
pub mod view;

//! The stream: a byte ring of frames, one publisher, many subscribers.
//!
//! | file | idea |
//! |---|---|
//! | [`publisher`] | committing frames |
//! | [`subscriber`] | walking them |
//! | [`places`] | the two places that the publisher remembers: where intact history begins, and a recent place |

pub mod places;
pub mod publisher;
pub mod subscriber;

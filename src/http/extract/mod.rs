//! What handlers take from a request. axum's own `Json` and `Path` are not used: their refusals
//! are not ours (contract, section 3.6) and can repeat what the client sent.

mod body;
mod caller;
mod fields;
mod identity;
mod paging;
mod path;

pub use body::{Answer, Body, OptionalBody, text};
pub use caller::From;
pub use fields::Fields;
pub use identity::{Admin, Authenticated, Credential, bearer, owner};
pub use paging::Paging;
pub use path::{Id, Known};

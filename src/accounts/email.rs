//! E-mail addresses as accounts know them.

/// An address in its one canonical form: two spellings of one account compare equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(String);

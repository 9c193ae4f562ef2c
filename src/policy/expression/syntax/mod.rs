//! Text to syntax tree: the expression syntax of CEL, less what rules have no use for (maps, messages, bytes, unsigned
//! numbers, indexes).
//!
//! Why this is not the parser of the `cel` crate: it comes with ANTLR's runtime and costs a cold build half a minute, a
//! long chain of `.b` overflows its stack and ends the process, formatting some of its errors panics, and its messages
//! list the tokens of a grammar (decision 20).

pub(super) mod literal;
pub(super) mod named;
pub(super) mod parse;
pub(super) mod token;
pub(super) mod tree;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A word that is no keyword.
    Word(String),
    /// A number without its sign, up to 2^63: `-9223372036854775808` is a number too.
    Int(u64),
    /// A number with a point or an exponent.
    Float(f64),
    /// A string, its escapes read.
    Text(String),
    /// An operator, a bracket, or one of the words `in`, `true`, `false`.
    Mark(&'static str),
    /// After the last one.
    End,
}

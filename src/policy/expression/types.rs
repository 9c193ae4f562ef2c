//! The types of facts and expressions.

use std::fmt;

/// What a text is, and so how it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// Octet by octet.
    Plain,
    /// A domain or host name: in any case, in both IDN forms, without the dot of the root.
    Domain,
    /// A mail address: in any case, its domain as a domain.
    Mailbox,
    /// One of these words, and a literal that is none of them is a mistake.
    Word(&'static [&'static str]),
}

impl TextKind {
    /// Whether it is compared in any case and in both IDN forms.
    pub fn is_name(self) -> bool {
        matches!(self, TextKind::Domain | TextKind::Mailbox)
    }
}

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A number with a fraction.
    Float,
    /// A text.
    Text(TextKind),
    /// An IP address.
    Address,
    /// A time span.
    Duration,
    /// Texts that a fact or a header gives.
    Texts(TextKind),
    /// A list that is written out: `[1, 2]`.
    Items,
    /// What `cidr` makes.
    Networks,
    /// What `list` makes.
    Named,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Float => "float",
            Type::Text(TextKind::Plain) => "string",
            Type::Text(TextKind::Domain) => "domain",
            Type::Text(TextKind::Mailbox) => "mail address",
            Type::Text(TextKind::Word(_)) => "word",
            Type::Address => "IP address",
            Type::Duration => "duration",
            Type::Texts(TextKind::Domain) => "list of domains",
            Type::Texts(TextKind::Mailbox) => "list of mail addresses",
            Type::Texts(_) => "list of strings",
            Type::Items => "list",
            Type::Networks => "set of networks",
            Type::Named => "named list",
        })
    }
}

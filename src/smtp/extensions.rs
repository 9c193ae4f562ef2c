//! Service extensions (RFC 5321 §2.2): which exist.

use std::ops::BitOr;

/// A set of service extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extensions(pub u32);

impl Extensions {
    /// A server that offers no extension.
    pub const NONE: Extensions = Extensions(0);
    /// RFC 2920.
    pub const PIPELINING: Extensions = Extensions(1);
    /// RFC 1870.
    pub const SIZE: Extensions = Extensions(1 << 1);
    /// RFC 6152.
    pub const EIGHTBITMIME: Extensions = Extensions(1 << 2);
    /// RFC 6531.
    pub const SMTPUTF8: Extensions = Extensions(1 << 3);
    /// RFC 3030.
    pub const CHUNKING: Extensions = Extensions(1 << 4);
    /// RFC 3030.
    pub const BINARYMIME: Extensions = Extensions(1 << 5);
    /// RFC 2034.
    pub const ENHANCEDSTATUSCODES: Extensions = Extensions(1 << 6);
    /// RFC 3461.
    pub const DSN: Extensions = Extensions(1 << 7);
    /// RFC 3207.
    pub const STARTTLS: Extensions = Extensions(1 << 8);
    /// RFC 4954.
    pub const AUTH: Extensions = Extensions(1 << 9);
    /// RFC 9422.
    pub const LIMITS: Extensions = Extensions(1 << 10);
    /// RFC 8689.
    pub const REQUIRETLS: Extensions = Extensions(1 << 11);
    /// Postfix's XCLIENT.
    pub const XCLIENT: Extensions = Extensions(1 << 12);
    /// Postfix's XFORWARD.
    pub const XFORWARD: Extensions = Extensions(1 << 13);

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn has(self, other: Extensions) -> bool {
        self.0 & other.0 == other.0
    }

    /// Without those of `other`.
    #[must_use]
    pub const fn without(self, other: Extensions) -> Extensions {
        Extensions(self.0 & !other.0)
    }

    /// Those in both.
    #[must_use]
    pub const fn common(self, other: Extensions) -> Extensions {
        Extensions(self.0 & other.0)
    }
}

impl BitOr for Extensions {
    type Output = Extensions;
    fn bitor(self, other: Extensions) -> Extensions {
        Extensions(self.0 | other.0)
    }
}

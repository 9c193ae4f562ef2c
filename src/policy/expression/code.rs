//! Compiled expressions: constants, or closures that read a frame. Nothing here allocates while it runs.

use super::{
    facts::{self, ReadText, ReadTexts, Reader},
    types::{TextKind, Type},
    value::{Frame, Gap, Known, Text},
};
use ipnet::IpNet;
use std::{net::IpAddr, ops::ControlFlow, sync::Arc};

/// Computes a value.
pub type Run<T> = Box<dyn for<'f> Fn(&Frame<'f>) -> Known<T> + Send + Sync>;

/// A value that is known at check time, or how it is computed.
pub enum Node<T> {
    /// Known.
    Const(T),
    /// Computed.
    Run(Run<T>),
}

impl<T: Copy + Send + Sync + 'static> Node<T> {
    /// A closure from anything that computes.
    pub fn run(run: impl for<'f> Fn(&Frame<'f>) -> Known<T> + Send + Sync + 'static) -> Node<T> {
        Node::Run(Box::new(run))
    }

    /// A closure in either case.
    pub fn into_run(self) -> Run<T> {
        match self {
            Node::Const(value) => Box::new(move |_| Ok(value)),
            Node::Run(run) => run,
        }
    }

    /// The node of `f` of this value.
    pub fn map<U: Copy + Send + Sync + 'static>(
        self,
        f: impl Fn(T) -> Known<U> + Send + Sync + 'static,
    ) -> Known<Node<U>> {
        Ok(match self {
            Node::Const(value) => Node::Const(f(value)?),
            Node::Run(run) => Node::run(move |frame| f(run(frame)?)),
        })
    }

    /// The node of `f` of both values. The error is that of two constants.
    pub fn join<U: Copy + Send + Sync + 'static>(
        self,
        other: Node<T>,
        f: impl Fn(T, T) -> Known<U> + Send + Sync + 'static,
    ) -> Known<Node<U>> {
        Ok(match (self, other) {
            (Node::Const(a), Node::Const(b)) => Node::Const(f(a, b)?),
            (Node::Const(a), Node::Run(b)) => Node::run(move |frame| f(a, b(frame)?)),
            (Node::Run(a), Node::Const(b)) => Node::run(move |frame| f(a(frame)?, b)),
            (Node::Run(a), Node::Run(b)) => Node::run(move |frame| f(a(frame)?, b(frame)?)),
        })
    }
}

/// Where a text comes from.
pub enum Source {
    /// The rule.
    Const(Box<[u8]>),
    /// A fact; none reads as empty.
    Fact(u16, ReadText),
    /// The variable of the loop at this depth.
    Item(usize),
    /// The first header field with this name; none reads as empty.
    Header(Box<str>),
    /// Another, in lower case.
    Lower(Box<Source>),
    /// A part of another.
    Part(fn(&[u8]) -> &[u8], Box<Source>),
    /// One of two.
    Choice(Run<bool>, Box<[Source; 2]>),
}

impl Source {
    /// The text. It borrows from the facts or from the rule.
    pub fn read<'f>(&'f self, frame: &Frame<'f>) -> Known<Text<'f>> {
        let octets: &'f [u8] = match self {
            Source::Const(text) => text,
            Source::Fact(id, read) => match read(frame.subject) {
                Ok(text) => text.unwrap_or_default(),
                Err(missing) => return Err(Gap::Unknown(*id, missing)),
            },
            Source::Item(depth) => frame.items.get(*depth).copied().unwrap_or_default(),
            Source::Header(name) => frame.subject.fields.of(name).next().unwrap_or_default(),
            Source::Lower(of) => {
                let text = of.read(frame)?;
                return Ok(Text {
                    lower: true,
                    ..text
                });
            }
            Source::Part(part, of) => {
                let text = of.read(frame)?;
                return Ok(Text {
                    octets: part(text.octets),
                    ..text
                });
            }
            Source::Choice(condition, sources) => {
                let [yes, no] = &**sources;
                return if condition(frame)? { yes } else { no }.read(frame);
            }
        };
        Ok(Text::plain(octets))
    }

    /// The text, if it is known at check time.
    pub fn constant(&self) -> Option<&[u8]> {
        match self {
            Source::Const(text) => Some(text),
            _ => None,
        }
    }
}

/// Where the texts of a list come from.
pub enum List {
    /// The rule.
    Const(Box<[Box<[u8]>]>),
    /// A fact.
    Fact(u16, ReadTexts),
    /// All header fields with this name.
    Headers(Box<str>),
}

impl List {
    /// Hands each item to `visit` until it breaks.
    pub fn visit<'f>(
        &'f self,
        frame: &Frame<'f>,
        visit: &mut dyn FnMut(&'f [u8]) -> ControlFlow<()>,
    ) -> Known<()> {
        match self {
            List::Const(items) => {
                let _ = items.iter().try_for_each(|item| visit(item));
            }
            List::Fact(id, read) => {
                read(frame.subject, visit).map_err(|missing| Gap::Unknown(*id, missing))?;
            }
            List::Headers(name) => {
                let _ = frame.subject.fields.of(name).try_for_each(visit);
            }
        }
        Ok(())
    }

    /// Whether `f` is true of one item at least. What is unknown of some counts only where it is true of none.
    pub fn any<'f>(
        &'f self,
        frame: &Frame<'f>,
        mut f: impl FnMut(&'f [u8]) -> Known<bool>,
    ) -> Known<bool> {
        let mut result = Ok(false);
        self.visit(frame, &mut |item| {
            if let Err(gap) = frame.step() {
                result = Err(gap);
                return ControlFlow::Break(());
            }
            match f(item) {
                Ok(true) => {
                    result = Ok(true);
                    return ControlFlow::Break(());
                }
                Ok(false) => {}
                Err(gap) => result = Err(gap),
            }
            ControlFlow::Continue(())
        })?;
        result
    }
}

/// What `list("name")` stands for. Must be quick and must not wait.
pub trait NamedList: Send + Sync {
    /// Whether it is known that it never has an address.
    fn has_no_address(&self) -> bool {
        false
    }

    /// Whether a network of the list holds the address.
    fn has_address(&self, address: IpAddr) -> bool;
    /// Whether the list holds the domain, or everything below one of its parents. In any case, both IDN forms.
    fn has_domain(&self, domain: &[u8]) -> bool;
    /// Whether the list holds the mail address or its domain, compared likewise.
    fn has_mailbox(&self, mailbox: &[u8]) -> bool;
    /// Whether the list holds the text.
    fn has_text(&self, text: &[u8]) -> bool;
}

/// A checked expression of any type.
pub enum Code {
    Bool(Node<bool>),
    Int(Node<i64>),
    Float(Node<f64>),
    Text(TextKind, Source),
    Address(Node<IpAddr>),
    /// In milliseconds.
    Duration(Node<i64>),
    Texts(TextKind, List),
    Items(Vec<Code>),
    Networks(Box<[IpNet]>),
    Named(Arc<dyn NamedList>),
}

impl Code {
    /// Its type.
    pub fn kind(&self) -> Type {
        match self {
            Code::Bool(_) => Type::Bool,
            Code::Int(_) => Type::Int,
            Code::Float(_) => Type::Float,
            Code::Text(kind, _) => Type::Text(*kind),
            Code::Address(_) => Type::Address,
            Code::Duration(_) => Type::Duration,
            Code::Texts(kind, _) => Type::Texts(*kind),
            Code::Items(_) => Type::Items,
            Code::Networks(_) => Type::Networks,
            Code::Named(_) => Type::Named,
        }
    }

    /// Reads the fact at this place of the table.
    pub fn of_fact(id: u16) -> Option<Code> {
        fn read<T: Copy + Send + Sync + 'static>(
            id: u16,
            read: for<'f> fn(&'f super::subject::Subject<'f>) -> Result<T, super::subject::Missing>,
        ) -> Node<T> {
            Node::run(move |frame| read(frame.subject).map_err(|missing| Gap::Unknown(id, missing)))
        }
        Some(match facts::TABLE.get(usize::from(id))?.read {
            Reader::Bool(reader) => Code::Bool(read(id, reader)),
            Reader::Int(reader) => Code::Int(read(id, reader)),
            Reader::Float(reader) => Code::Float(read(id, reader)),
            Reader::Address(reader) => Code::Address(read(id, reader)),
            Reader::Duration(reader) => Code::Duration(read(id, reader)),
            Reader::Text(kind, reader) => Code::Text(kind, Source::Fact(id, reader)),
            Reader::Texts(kind, reader) => Code::Texts(kind, List::Fact(id, reader)),
        })
    }
}

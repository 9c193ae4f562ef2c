//! Tokens to a tree: one function for each level of the grammar of CEL, from the weakest operator to the strongest.

use super::super::mistake::{Mistake, Span};
use super::{
    Kind,
    token::{self, Token},
    tree::{Call, Node, Operator, Tree},
};

/// Octets of an expression. Longer ones belong into a list.
pub const LENGTH_MAX: usize = 16 * 1024;
/// Levels of a tree. Bounds the stack of the parser, of the checker and of an evaluation.
pub const HEIGHT_MAX: usize = 64;
/// Items of a list that is written out.
pub const ITEMS_MAX: usize = 1_000;

/// The tree of an expression.
///
/// # Errors
/// The first mistake of its syntax: what comes after it would be guessed.
pub fn parse(text: &str) -> Result<Tree, Mistake> {
    if text.len() > LENGTH_MAX {
        let span = Span {
            start: LENGTH_MAX,
            end: LENGTH_MAX,
        };
        return Err(Mistake::new(
            span,
            format!("the expression is longer than {LENGTH_MAX} octets"),
        )
        .with_hint("put long lists into a named list and write `x in list(\"name\")`"));
    }
    let mut parser = Parser {
        tokens: token::tokens(text)?,
        at: 0,
        depth: 0,
    };
    let tree = parser.expression()?;
    match parser.peek() {
        Kind::End => Ok(tree),
        _ => Err(parser.trailing()),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    /// Brackets that are open.
    depth: usize,
}

type Parsed = Result<Tree, Mistake>;

impl Parser {
    fn peek(&self) -> &Kind {
        &self.token().kind
    }

    fn token(&self) -> &Token {
        // The last token is the end, and `step` never passes it.
        &self.tokens[self.at]
    }

    fn step(&mut self) -> Span {
        let span = self.token().span;
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        span
    }

    fn take(&mut self, mark: &str) -> Option<Span> {
        matches!(self.peek(), Kind::Mark(found) if *found == mark).then(|| self.step())
    }

    fn expect(&mut self, mark: &str, opened: Span) -> Result<Span, Mistake> {
        if let Some(span) = self.take(mark) {
            return Ok(span);
        }
        let found = shown(self.peek());
        let mistake = Mistake::new(
            self.token().span,
            format!("{found} where `{mark}` should be"),
        );
        let what = match mark {
            ":" => "the `?`",
            _ => "the bracket",
        };
        let at = opened.start + 1;
        Err(mistake.with_hint(format!(
            "{what} at octet {at} of the expression is not closed"
        )))
    }

    /// What is left over after a whole expression.
    fn trailing(&self) -> Mistake {
        let found = shown(self.peek());
        let mistake = Mistake::new(
            self.token().span,
            format!("{found} where an operator or the end should be"),
        );
        match self.peek() {
            Kind::Word(word) if word.eq_ignore_ascii_case("and") => {
                mistake.with_hint("write `&&` for \"and\"")
            }
            Kind::Word(word) if word.eq_ignore_ascii_case("or") => {
                mistake.with_hint("write `||` for \"or\"")
            }
            Kind::Word(word) if word == "not" || word == "is" => {
                mistake.with_hint("write `!` for \"not\", `==` for \"is\"")
            }
            Kind::Mark(")" | "]") => mistake.with_hint("it closes a bracket that was not opened"),
            _ => mistake,
        }
    }

    fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Parser) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        if self.depth >= HEIGHT_MAX {
            return Err(too_deep(self.token().span));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// `or ? or : expression`. Each `:` starts a level.
    fn expression(&mut self) -> Parsed {
        let condition = self.or()?;
        let Some(opened) = self.take("?") else {
            return Ok(condition);
        };
        let yes = self.nested(Parser::or)?;
        self.expect(":", opened)?;
        let no = self.nested(Parser::expression)?;
        let span = condition.span.to(no.span);
        let height = height(span, [&condition, &yes, &no])?;
        Ok(Tree {
            node: Node::Choice(Box::new([condition, yes, no])),
            span,
            height,
        })
    }

    fn or(&mut self) -> Parsed {
        self.chain("||", Parser::and, Node::Or)
    }

    fn and(&mut self) -> Parsed {
        self.chain("&&", Parser::relation, Node::And)
    }

    fn chain(
        &mut self,
        mark: &str,
        part: fn(&mut Parser) -> Parsed,
        node: fn(Vec<Tree>) -> Node,
    ) -> Parsed {
        let first = part(self)?;
        let mut parts = vec![first];
        while self.take(mark).is_some() {
            parts.push(part(self)?);
        }
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let span = parts[0].span.to(parts[parts.len() - 1].span);
        let height = height(span, &parts)?;
        Ok(Tree {
            node: node(parts),
            span,
            height,
        })
    }

    fn relation(&mut self) -> Parsed {
        use Operator::{Equal, Greater, GreaterEqual, In, Less, LessEqual, Unequal};
        const ALL: &[Operator] = &[Equal, Unequal, LessEqual, GreaterEqual, Less, Greater, In];
        self.left(ALL, Parser::sum)
    }

    fn sum(&mut self) -> Parsed {
        self.left(&[Operator::Add, Operator::Subtract], Parser::product)
    }

    fn product(&mut self) -> Parsed {
        const ALL: &[Operator] = &[Operator::Multiply, Operator::Divide, Operator::Remainder];
        self.left(ALL, Parser::unary)
    }

    /// Operators of one level, from the left.
    fn left(&mut self, operators: &[Operator], part: fn(&mut Parser) -> Parsed) -> Parsed {
        let mut left = part(self)?;
        loop {
            let found = operators.iter().find(
                |operator| matches!(self.peek(), Kind::Mark(mark) if *mark == operator.as_str()),
            );
            let Some(operator) = found else {
                return Ok(left);
            };
            self.step();
            let right = part(self)?;
            let span = left.span.to(right.span);
            let height = height(span, [&left, &right])?;
            left = Tree {
                node: Node::Binary(*operator, Box::new([left, right])),
                span,
                height,
            };
        }
    }

    /// Signs, and then a member. As in CEL two signs cancel each other, and there is no `!-x`.
    fn unary(&mut self) -> Parsed {
        let start = self.token().span;
        for (mark, node) in [
            ("!", Node::Not as fn(Box<Tree>) -> Node),
            ("-", Node::Negative),
        ] {
            let mut count = 0;
            while self.take(mark).is_some() {
                count += 1;
            }
            if count == 0 {
                continue;
            }
            let negative = mark == "-" && count == 1;
            let number = if negative {
                self.negative_number(start)?
            } else {
                None
            };
            let tree = match number {
                Some(number) => return self.postfix(number),
                None => self.member()?,
            };
            if count % 2 == 0 {
                return Ok(tree);
            }
            let span = start.to(tree.span);
            let height = height(span, [&tree])?;
            return Ok(Tree {
                node: node(Box::new(tree)),
                span,
                height,
            });
        }
        self.member()
    }

    /// The number after a single minus sign.
    fn negative_number(&mut self, sign: Span) -> Result<Option<Tree>, Mistake> {
        let node = match *self.peek() {
            Kind::Int(value) => Node::Int(0i64.wrapping_sub_unsigned(value)),
            Kind::Float(value) => Node::Float(-value),
            _ => return Ok(None),
        };
        let span = sign.to(self.step());
        Ok(Some(leaf(node, span)))
    }

    fn member(&mut self) -> Parsed {
        // After `!` the sign of a number is part of the number.
        let next = self.tokens.get(self.at + 1).map(|token| &token.kind);
        if let (Kind::Mark("-"), Some(Kind::Int(_) | Kind::Float(_))) = (self.peek(), next) {
            let sign = self.step();
            if let Some(number) = self.negative_number(sign)? {
                return self.postfix(number);
            }
        }
        let tree = self.primary()?;
        self.postfix(tree)
    }

    /// `.field`, `.method(…)`, as many as there are.
    fn postfix(&mut self, mut tree: Tree) -> Parsed {
        loop {
            if let Kind::Mark("[") = self.peek() {
                return Err(
                    Mistake::new(self.token().span, "rules have no indexes into lists")
                        .with_hint("write `LIST.exists(x, …)`, or `x in LIST`"),
                );
            }
            if self.take(".").is_none() {
                return Ok(tree);
            }
            let name_span = self.token().span;
            let Kind::Word(name) = self.peek().clone() else {
                let found = shown(self.peek());
                return Err(Mistake::new(
                    name_span,
                    format!("{found} where a name should be, after `.`"),
                ));
            };
            self.step();
            let start = tree.span;
            if let Some(opened) = self.take("(") {
                let (arguments, end) = self.items(")", opened)?;
                let span = start.to(end);
                let height = height(span, arguments.iter().chain([&tree]))?;
                tree = Tree {
                    node: Node::Call(Call {
                        name,
                        name_span,
                        target: Some(Box::new(tree)),
                        arguments,
                    }),
                    span,
                    height,
                };
            } else {
                let span = start.to(name_span);
                let height = height(span, [&tree])?;
                tree = Tree {
                    node: Node::Select(Box::new(tree), name),
                    span,
                    height,
                };
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let span = self.token().span;
        let node = match self.peek().clone() {
            Kind::Int(value) => match i64::try_from(value) {
                Ok(value) => Node::Int(value),
                Err(_) => {
                    return Err(Mistake::new(span, "the number is too large")
                        .with_hint("whole numbers end at 9223372036854775807"));
                }
            },
            Kind::Float(value) => Node::Float(value),
            Kind::Text(text) => Node::Text(text),
            Kind::Mark("true") => Node::Bool(true),
            Kind::Mark("false") => Node::Bool(false),
            Kind::Word(name) => return self.word(name),
            Kind::Mark("(") => {
                self.step();
                let mut inner = self.nested(Parser::expression)?;
                let end = self.expect(")", span)?;
                inner.span = span.to(end);
                return Ok(inner);
            }
            Kind::Mark("[") => {
                self.step();
                let (items, end) = self.items("]", span)?;
                let span = span.to(end);
                let height = height(span, &items)?;
                return Ok(Tree {
                    node: Node::List(items),
                    span,
                    height,
                });
            }
            other => return Err(no_value(&other, span)),
        };
        self.step();
        Ok(leaf(node, span))
    }

    /// A name, or a call.
    fn word(&mut self, name: String) -> Parsed {
        let name_span = self.step();
        let Some(opened) = self.take("(") else {
            return Ok(leaf(Node::Name(name), name_span));
        };
        let (arguments, end) = self.items(")", opened)?;
        let span = name_span.to(end);
        let height = height(span, &arguments)?;
        Ok(Tree {
            node: Node::Call(Call {
                name,
                name_span,
                target: None,
                arguments,
            }),
            span,
            height,
        })
    }

    /// Expressions with commas between them, to the closing bracket. A list may end with a comma, a call may not.
    fn items(&mut self, end: &str, opened: Span) -> Result<(Vec<Tree>, Span), Mistake> {
        let mut items = Vec::new();
        if let Some(span) = self.take(end) {
            return Ok((items, span));
        }
        if end == "]" && self.take(",").is_some() {
            return Ok((items, self.expect(end, opened)?));
        }
        loop {
            items.push(self.nested(Parser::expression)?);
            if items.len() > ITEMS_MAX {
                let last = self.token().span;
                return Err(Mistake::new(last, format!("more than {ITEMS_MAX} items"))
                    .with_hint("put them into a named list and write `x in list(\"name\")`"));
            }
            if self.take(",").is_none() || (end == "]" && matches!(self.peek(), Kind::Mark("]"))) {
                return Ok((items, self.expect(end, opened)?));
            }
        }
    }
}

fn leaf(node: Node, span: Span) -> Tree {
    Tree {
        node,
        span,
        height: 1,
    }
}

/// The height of a tree with these parts, if it is not too high.
fn height<'a>(span: Span, parts: impl IntoIterator<Item = &'a Tree>) -> Result<usize, Mistake> {
    let highest = parts.into_iter().map(|part| part.height).max();
    let height = highest.unwrap_or(0) + 1;
    if height > HEIGHT_MAX {
        return Err(too_deep(span));
    }
    Ok(height)
}

fn too_deep(span: Span) -> Mistake {
    Mistake::new(
        span,
        format!("the expression nests deeper than {HEIGHT_MAX} levels"),
    )
    .with_hint("write it as several rules")
}

/// What stands where a value should.
fn no_value(found: &Kind, span: Span) -> Mistake {
    let mistake = Mistake::new(span, format!("{} where a value should be", shown(found)));
    match found {
        Kind::Mark(".") => mistake.with_hint("a name doesn't start with a dot"),
        Kind::Mark("!" | "-") => mistake.with_hint("`!` and `-` need parentheses between them"),
        _ => mistake,
    }
}

fn shown(kind: &Kind) -> String {
    match kind {
        Kind::Word(word) if word.len() <= 40 => format!("`{word}`"),
        Kind::Word(_) => "a word".into(),
        Kind::Int(value) => format!("`{value}`"),
        Kind::Float(value) => format!("`{value}`"),
        Kind::Text(_) => "a text".into(),
        Kind::Mark(mark) => format!("`{mark}`"),
        Kind::End => "the end".into(),
    }
}

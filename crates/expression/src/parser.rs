//! From the words and signs of an expression to its tree.

use std::{cell::RefCell, rc::Rc};

use crate::{
    functions::Function,
    lexer::{Token, tokens},
    syntax_error::SyntaxError,
    value::Value,
};

/// How deep an expression may be nested, as on GitHub.
const DEPTH_MAX: usize = 50;
/// The most bytes of an expression, as on GitHub.
const BYTES_MAX: usize = 21_000;

/// The most tokens of an expression. The depth of its tree is at most their number.
const TOKENS_MAX: usize = 4_000;

/// An expression that has the form of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    pub(crate) root: Node,
}

/// A part of an expression, and the byte at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) part: Part,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Literal(Value),
    /// A context.
    Name(String),
    /// `value.name`, and where the name stands.
    Property(Box<Node>, String, usize),
    /// `value[index]`
    Index(Box<Node>, Box<Node>),
    /// `value.*`
    Star(Box<Node>),
    Call(String, Vec<Node>),
    Not(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
}

/// An operator with two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Expression {
    /// Returns whether it calls a status function.
    pub fn calls_status(&self) -> bool {
        self.root.any(&|node| {
            let Part::Call(name, _) = &node.part else {
                return false;
            };
            Function::find(name).is_some_and(Function::is_status)
        })
    }
}

/// A sign that a text is meant to be an expression, and not bash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// A function is called. In bash, that is a mistake.
    Call(String),
    /// Something is looked up in a context.
    Context(String),
}

/// The contexts that are here or on GitHub.
pub const CONTEXTS: [&str; 12] = [
    "needs",
    "steps",
    "env",
    "inputs",
    "matrix",
    "job",
    "nixactions",
    "github",
    "runner",
    "secrets",
    "vars",
    "strategy",
];

impl Expression {
    /// Returns a sign that the text is not meant to be bash.
    pub fn sign(&self) -> Option<Sign> {
        let found = RefCell::new(None);
        self.root.any(&|node| {
            let sign = match &node.part {
                Part::Call(name, _) => Some(Sign::Call(name.clone())),
                Part::Property(of, ..) | Part::Index(of, _) | Part::Star(of) => match &of.part {
                    Part::Name(name)
                        if CONTEXTS
                            .iter()
                            .any(|known| known.eq_ignore_ascii_case(name)) =>
                    {
                        Some(Sign::Context(name.clone()))
                    }
                    _ => None,
                },
                _ => None,
            };
            let is_found = sign.is_some();
            if is_found {
                found.replace(sign);
            }
            is_found
        });
        found.into_inner()
    }
}

impl Node {
    /// Returns the part that comes before all else of this one. Chains of these are as long as the
    /// expression, and so are walked in loops.
    fn first(&self) -> Option<&Node> {
        match &self.part {
            Part::Property(of, ..) | Part::Star(of) => Some(of),
            Part::Index(of, _) | Part::Binary(_, of, _) => Some(of),
            Part::Literal(_) | Part::Name(_) | Part::Call(..) | Part::Not(_) => None,
        }
    }

    /// Returns this part, its first part, the first of that, and so on.
    pub(crate) fn chain(&self) -> Vec<&Node> {
        std::iter::successors(Some(self), |node| node.first()).collect()
    }

    fn any(&self, test: &impl Fn(&Node) -> bool) -> bool {
        self.chain().into_iter().any(|node| {
            test(node)
                || match &node.part {
                    Part::Not(other) | Part::Index(_, other) | Part::Binary(_, _, other) => {
                        other.any(test)
                    }
                    Part::Call(_, arguments) => arguments.iter().any(|node| node.any(test)),
                    Part::Literal(_) | Part::Name(_) | Part::Property(..) | Part::Star(_) => false,
                }
        })
    }
}

/// Parses an expression. [`check`](crate::check()) checks its names.
///
/// # Errors
/// The text does not have the form of an expression.
pub fn parse(text: &str) -> Result<Expression, SyntaxError> {
    if text.len() > BYTES_MAX {
        return Err(SyntaxError::new(
            BYTES_MAX,
            format!("more than {BYTES_MAX} bytes"),
        ));
    }
    let tokens = tokens(text)?;
    if let Some((at, _)) = tokens.get(TOKENS_MAX) {
        let found = format!("more than {TOKENS_MAX} words and signs");
        return Err(SyntaxError::new(*at, found));
    }
    let mut parser = Parser {
        tokens,
        next: 0,
        depth: 0,
        end: text.len(),
    };
    let root = parser.deeper(|parser| parser.binary(0))?;
    match parser.peek() {
        None => Ok(Expression { root }),
        Some(_) => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    end: usize,
}

type Parsed = Result<Node, SyntaxError>;

/// Returns the operator that a token is, and how tightly it binds.
fn operator(token: &Token) -> Option<(Operator, u8)> {
    Some(match token {
        Token::Or => (Operator::Or, 1),
        Token::And => (Operator::And, 2),
        Token::Equal => (Operator::Equal, 3),
        Token::NotEqual => (Operator::NotEqual, 3),
        Token::Greater => (Operator::Greater, 4),
        Token::GreaterOrEqual => (Operator::GreaterOrEqual, 4),
        Token::Less => (Operator::Less, 4),
        Token::LessOrEqual => (Operator::LessOrEqual, 4),
        _ => return None,
    })
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// Returns where the next token stands, or the end.
    fn place(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn take(&mut self, token: &Token) -> bool {
        let is_next = self.peek() == Some(token);
        self.next += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, token: &Token, what: &str) -> Result<(), SyntaxError> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.unexpected(what))
        }
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        let found = match self.peek() {
            None => "its end".to_owned(),
            Some(token) => shown(token),
        };
        SyntaxError::new(self.place(), format!("{found} where {expected} may stand"))
    }

    /// Parses the next level of nesting.
    fn deeper(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth == DEPTH_MAX {
            return Err(SyntaxError::new(
                self.place(),
                format!("more than {DEPTH_MAX} levels"),
            ));
        }
        self.depth += 1;
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    /// Parses operators that bind at least so tightly; those of one kind group from the left.
    fn binary(&mut self, least: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some((operator, binds)) = self.peek().and_then(operator)
            && binds >= least
        {
            self.next += 1;
            let right = self.deeper(|parser| parser.binary(binds + 1))?;
            left = Node {
                at: left.at,
                part: Part::Binary(operator, Box::new(left), Box::new(right)),
            };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.place();
        if !self.take(&Token::Not) {
            return self.postfix();
        }
        let of = self.deeper(Self::unary)?;
        Ok(Node {
            at,
            part: Part::Not(Box::new(of)),
        })
    }

    /// Parses a value and the accesses to its properties and elements.
    fn postfix(&mut self) -> Parsed {
        let mut node = self.primary()?;
        if matches!(node.part, Part::Literal(_)) {
            return Ok(node);
        }
        loop {
            let at = node.at;
            let part = if self.take(&Token::Dot) {
                let place = self.place();
                match self.peek().cloned() {
                    Some(Token::Star) => {
                        self.next += 1;
                        Part::Star(Box::new(node))
                    }
                    Some(Token::Name(name)) => {
                        self.next += 1;
                        Part::Property(Box::new(node), name, place)
                    }
                    _ => return Err(self.unexpected("a name or `*`")),
                }
            } else if self.take(&Token::OpenIndex) {
                let part = if self.take(&Token::Star) {
                    Part::Star(Box::new(node))
                } else {
                    let index = self.deeper(|parser| parser.binary(0))?;
                    Part::Index(Box::new(node), Box::new(index))
                };
                self.expect(&Token::CloseIndex, "`]`")?;
                part
            } else {
                return Ok(node);
            };
            node = Node { at, part };
        }
    }

    fn primary(&mut self) -> Parsed {
        let at = self.place();
        let literal = match self.peek().cloned() {
            Some(Token::Number(number)) => Value::Number(number),
            Some(Token::Text(text)) => Value::Text(Rc::from(text)),
            Some(Token::True) => Value::Bool(true),
            Some(Token::False) => Value::Bool(false),
            Some(Token::Null) => Value::Null,
            Some(Token::Open) => {
                self.next += 1;
                let inner = self.deeper(|parser| parser.binary(0))?;
                self.expect(&Token::Close, "an operator or `)`")?;
                // `('a').b` is wrong, as `'a'.b` is.
                return Ok(inner);
            }
            Some(Token::Name(name)) => {
                self.next += 1;
                let part = if self.take(&Token::Open) {
                    Part::Call(name, self.arguments()?)
                } else {
                    Part::Name(name)
                };
                return Ok(Node { at, part });
            }
            _ => return Err(self.unexpected("a value")),
        };
        self.next += 1;
        Ok(Node {
            at,
            part: Part::Literal(literal),
        })
    }

    /// Parses what stands between the parentheses of a call.
    fn arguments(&mut self) -> Result<Vec<Node>, SyntaxError> {
        let mut arguments = Vec::new();
        if self.take(&Token::Close) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.deeper(|parser| parser.binary(0))?);
            if self.take(&Token::Close) {
                return Ok(arguments);
            }
            self.expect(&Token::Comma, "`,` or `)`")?;
        }
    }
}

/// Returns how an error names a token.
fn shown(token: &Token) -> String {
    let sign = match token {
        Token::Open => "(",
        Token::Close => ")",
        Token::OpenIndex => "[",
        Token::CloseIndex => "]",
        Token::Comma => ",",
        Token::Dot => ".",
        Token::Star => "*",
        Token::Not => "!",
        Token::NotEqual => "!=",
        Token::Equal => "==",
        Token::Greater => ">",
        Token::GreaterOrEqual => ">=",
        Token::Less => "<",
        Token::LessOrEqual => "<=",
        Token::And => "&&",
        Token::Or => "||",
        Token::True => "true",
        Token::False => "false",
        Token::Null => "null",
        Token::Number(_) => return "a number".to_owned(),
        Token::Text(_) => return "a text".to_owned(),
        Token::Name(name) => name,
    };
    format!("`{sign}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(text: &str) -> (usize, String) {
        let error = parse(text).unwrap_err();
        (error.at, error.found)
    }

    #[test]
    fn good_expressions_are_parsed() {
        for text in [
            "always()",
            "!cancelled()",
            "always() && needs.build.result == 'success'",
            "contains(needs.*.result, 'failure')",
            "github.event['a b'][0].true",
            "fromJSON('{}').a[*].b",
            "(a || b).c",
            "'it''s' != \"x\"".split(" != ").next().unwrap(),
            "1.5e3 >= -1e-2",
            "a<b==c",
            "\n a\t&&\nb ",
        ] {
            parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        }
    }

    #[test]
    fn an_error_names_the_token_and_its_place() {
        let value = "its end where a value may stand";
        assert_eq!(bad(""), (0, value.to_owned()));
        assert_eq!(bad("a &&"), (4, value.to_owned()));
        assert_eq!(bad("a = b").1, "`=`: an expression compares by `==`");
        assert_eq!(bad("a & b"), (2, "`&`: an expression has `&&`".to_owned()));
        assert_eq!(bad("f(a b)").1, "`b` where `,` or `)` may stand");
        assert_eq!(bad("f(a,)").1, "`)` where a value may stand");
        assert_eq!(bad("(a").1, "its end where an operator or `)` may stand");
        assert_eq!(bad("a.'b'").1, "a text where a name or `*` may stand");
        assert_eq!(bad("'a"), (0, "a text whose `'` is not closed".to_owned()));
        assert_eq!(bad("a == \"b\"").0, 5);
        assert_eq!(
            bad("é"),
            (0, "a character that an expression does not have".to_owned())
        );
        assert_eq!(bad("a b").1, "`b` where an operator or the end may stand");
        assert_eq!(bad("1x").1, "a number that cannot be read");
        assert_eq!(bad("-1x").1, "a number that cannot be read");
        assert_eq!(bad("[ -f x ]").1, "`-`: an option stands in bash alone");
        for text in [".a", "a..b", ". "] {
            assert_eq!(bad(text).1, "`.` without a name or number beside it");
        }
        for text in ["1 - 1", "1 + b", "--1"] {
            assert_eq!(bad(text).1, "`+` or `-`: an expression does not compute");
        }
    }

    #[test]
    fn nesting_and_length_are_bounded() {
        parse(&format!("{}a", "!".repeat(DEPTH_MAX - 1))).unwrap();
        assert_eq!(
            bad(&format!("{}a", "!".repeat(DEPTH_MAX))).1,
            "more than 50 levels"
        );
        assert_eq!(bad(&"(".repeat(4_000)).1, "more than 50 levels");
        assert_eq!(bad(&"a".repeat(21_001)).1, "more than 21000 bytes");
        assert!(!parse(&vec!["a"; 2000].join("||")).unwrap().calls_status());
        assert_eq!(
            bad(&format!("a{}", ".b".repeat(10_000))).1,
            "more than 4000 words and signs"
        );
    }

    #[test]
    fn status_functions_are_found_in_any_case_and_place() {
        let calls = |text| parse(text).unwrap().calls_status();
        assert!(calls("a && (b || !Cancelled())"));
        assert!(calls("format('{0}', success())"));
        assert!(!calls("contains('always()', 'x')"));
    }
}

//! Checks an expression before its evaluation: names, numbers of arguments, and types.

use std::collections::BTreeMap;

use crate::{
    functions::Function,
    parser::{Expression, Node, Operator, Part},
    value::Value,
};

/// The known type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Any,
    /// A text, number, boolean or null: nothing can be looked up in it.
    Simple,
    /// An object that has these names and no others.
    Names(BTreeMap<String, Shape>),
    /// An object with any names, whose values are all of one shape.
    Each(Box<Shape>),
}

impl Shape {
    /// Returns an object that has these names and no others.
    pub fn names<K: Into<String>>(names: impl IntoIterator<Item = (K, Self)>) -> Self {
        let names = names.into_iter();
        Self::Names(names.map(|(name, shape)| (name.into(), shape)).collect())
    }

    fn is_object(&self) -> bool {
        matches!(self, Self::Names(_) | Self::Each(_))
    }
}

/// Something that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The byte at which it stands.
    pub at: usize,
    /// The kind of the fault.
    pub kind: Kind,
}

/// The kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The function is unknown.
    Function {
        /// The name.
        name: String,
        /// All names of functions.
        known: Vec<String>,
    },
    /// The function is known, but not available in this place.
    NotHere {
        /// The function.
        function: &'static str,
    },
    /// A function has too few or too many arguments.
    Arguments {
        /// The function.
        function: &'static str,
        /// The number of its arguments, in words.
        takes: &'static str,
    },
    /// The context is unknown, or not available in this place.
    Context {
        /// The name.
        name: String,
        /// All contexts of the place.
        known: Vec<String>,
    },
    /// An object does not have this name.
    Name {
        /// The object, as it is written.
        of: String,
        /// The name.
        name: String,
        /// All names that it has.
        known: Vec<String>,
    },
    /// The expression accesses a property of a text.
    InText {
        /// The text, as it is written.
        of: String,
    },
    /// An object or a list stands where a text must.
    NotText {
        /// Where: an operator or a function.
        place: &'static str,
    },
}

/// Returns all that cannot be right in an expression, whose contexts are these, and in a place
/// that has these functions.
pub fn check(
    expression: &Expression,
    contexts: &BTreeMap<String, Shape>,
    has: impl Fn(Function) -> bool,
) -> Vec<Fault> {
    let mut checker = Checker {
        contexts,
        has: &has,
        faults: Vec::new(),
    };
    checker.shape(&expression.root);
    checker.faults
}

struct Checker<'a> {
    contexts: &'a BTreeMap<String, Shape>,
    has: &'a dyn Fn(Function) -> bool,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    fn shape(&mut self, node: &Node) -> Shape {
        let mut chain = node.chain();
        let Some(first) = chain.pop() else {
            return Shape::Any;
        };
        let mut shape = self.begin(first);
        let mut written = if let Part::Name(name) = &first.part {
            name.clone()
        } else {
            "…".to_owned()
        };
        while let Some(node) = chain.pop() {
            shape = match &node.part {
                Part::Property(_, name, at) => {
                    let next = self.look_up(shape, &written, name, *at);
                    written = format!("{written}.{name}");
                    next
                }
                Part::Index(_, index) => {
                    self.shape(index);
                    match &index.part {
                        Part::Literal(Value::Text(name)) => {
                            let next = self.look_up(shape, &written, name, index.at);
                            written = format!("{written}.{name}");
                            next
                        }
                        _ => Shape::Any,
                    }
                }
                Part::Binary(operator, left, right) => {
                    let right_shape = self.shape(right);
                    self.operands(*operator, (&shape, left), (&right_shape, right))
                }
                Part::Star(_) => Shape::Any,
                Part::Literal(_) | Part::Name(_) | Part::Call(..) | Part::Not(_) => shape,
            };
        }
        shape
    }

    fn begin(&mut self, node: &Node) -> Shape {
        match &node.part {
            Part::Literal(_) => Shape::Simple,
            Part::Name(name) => match find(self.contexts, name) {
                Some(shape) => shape.clone(),
                None => {
                    let known = self.contexts.keys().cloned().collect();
                    let name = name.clone();
                    self.fault(node.at, Kind::Context { name, known });
                    Shape::Any
                }
            },
            Part::Not(of) => {
                self.shape(of);
                Shape::Simple
            }
            Part::Call(name, arguments) => {
                let shapes: Vec<_> = arguments.iter().map(|node| self.shape(node)).collect();
                self.call(node.at, name, arguments, &shapes)
            }
            Part::Property(..) | Part::Index(..) | Part::Star(_) | Part::Binary(..) => Shape::Any,
        }
    }

    fn look_up(&mut self, shape: Shape, of: &str, name: &str, at: usize) -> Shape {
        match shape {
            Shape::Any => Shape::Any,
            Shape::Each(shape) => *shape,
            Shape::Simple => {
                let of = of.to_owned();
                self.fault(at, Kind::InText { of });
                Shape::Any
            }
            Shape::Names(names) => match find(&names, name) {
                Some(shape) => shape.clone(),
                None => {
                    let kind = Kind::Name {
                        of: of.to_owned(),
                        name: name.to_owned(),
                        known: names.into_keys().collect(),
                    };
                    self.fault(at, kind);
                    Shape::Any
                }
            },
        }
    }

    fn operands(
        &mut self,
        operator: Operator,
        left: (&Shape, &Node),
        right: (&Shape, &Node),
    ) -> Shape {
        let place = match operator {
            Operator::And | Operator::Or => {
                return match (left.0, right.0) {
                    (Shape::Simple, Shape::Simple) => Shape::Simple,
                    _ => Shape::Any,
                };
            }
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
        };
        for (shape, node) in [left, right] {
            if shape.is_object() {
                self.fault(node.at, Kind::NotText { place });
            }
        }
        Shape::Simple
    }

    fn call(&mut self, at: usize, name: &str, arguments: &[Node], shapes: &[Shape]) -> Shape {
        let found = Function::NAMES
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((written, function)) = found else {
            let known = Function::NAMES.into_iter();
            let known = known
                .filter(|(_, function)| (self.has)(*function))
                .map(|(name, _)| name.to_owned())
                .collect();
            let name = name.to_owned();
            self.fault(at, Kind::Function { name, known });
            return Shape::Any;
        };
        if !(self.has)(function) {
            self.fault(at, Kind::NotHere { function: written });
        }
        let (least, most) = function.arity();
        if !(least..=most).contains(&arguments.len()) {
            let takes = match (least, most) {
                (0, _) => "no arguments",
                (1, 1) => "one argument",
                (1, 2) => "one or two arguments",
                (2, 2) => "two arguments",
                _ => "at least one argument",
            };
            let function = written;
            self.fault(at, Kind::Arguments { function, takes });
        }
        let texts = match function {
            Function::StartsWith | Function::EndsWith | Function::Format => shapes,
            Function::FromJson | Function::HashFiles => shapes,
            Function::Contains | Function::Join => shapes.get(1..).unwrap_or_default(),
            _ => &[],
        };
        let skipped = shapes.len() - texts.len();
        for (shape, argument) in texts.iter().zip(&arguments[skipped..]) {
            if shape.is_object() {
                self.fault(argument.at, Kind::NotText { place: written });
            }
        }
        match function {
            Function::FromJson => Shape::Any,
            _ => Shape::Simple,
        }
    }

    fn fault(&mut self, at: usize, kind: Kind) {
        self.faults.push(Fault { at, kind });
    }
}

/// Returns the entry with this name, else the entry whose name differs only in case.
fn find<'a>(names: &'a BTreeMap<String, Shape>, name: &str) -> Option<&'a Shape> {
    names.get(name).or_else(|| {
        names
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, shape)| shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse;

    fn faults(text: &str) -> Vec<(usize, Kind)> {
        let step = || {
            Shape::names([
                ("outputs", Shape::Each(Box::new(Shape::Simple))),
                ("outcome", Shape::Simple),
            ])
        };
        let contexts = [
            ("steps".to_owned(), Shape::names([("unit", step())])),
            ("env".to_owned(), Shape::Each(Box::new(Shape::Simple))),
        ];
        let has = |function| function != Function::HashFiles;
        check(&parse(text).unwrap(), &contexts.into(), has)
            .into_iter()
            .map(|fault| (fault.at, fault.kind))
            .collect()
    }

    #[test]
    fn good_expressions_have_no_faults() {
        for text in [
            "steps.unit.outcome == 'failure' && !cancelled()",
            "STEPS.Unit.outputs.anything",
            "steps['unit']['outcome']",
            "steps[env.WHICH].outcome.x",
            "steps.*.outcome.x",
            "fromJSON(env.A).b.c",
            "toJSON(steps) != ''",
            "contains(steps, 'x')",
            "(env.A || steps.unit).x",
        ] {
            assert_eq!(faults(text), [], "{text}");
        }
    }

    #[test]
    fn names_arguments_and_types_that_cannot_be_right_are_found() {
        let name = |of: &str, name: &str, known: &[&str]| Kind::Name {
            of: of.to_owned(),
            name: name.to_owned(),
            known: known.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(
            faults("steps.unti.outcome"),
            [(6, name("steps", "unti", &["unit"]))]
        );
        assert_eq!(
            faults("steps.unit['outcom']"),
            [(11, name("steps.unit", "outcom", &["outcome", "outputs"]))]
        );
        let contexts = vec!["env".to_owned(), "steps".to_owned()];
        let context = Kind::Context {
            name: "github".to_owned(),
            known: contexts,
        };
        assert_eq!(faults("github.ref"), [(0, context)]);
        assert_eq!(
            faults("1 == steps.unit.outcome.x"),
            [(
                24,
                Kind::InText {
                    of: "steps.unit.outcome".to_owned()
                }
            )]
        );
        assert_eq!(
            faults("steps == 'x' || startsWith('a', env)"),
            [
                (0, Kind::NotText { place: "==" }),
                (
                    32,
                    Kind::NotText {
                        place: "startsWith"
                    }
                )
            ]
        );
        assert_eq!(
            faults("hashFiles('x')"),
            [(
                0,
                Kind::NotHere {
                    function: "hashFiles"
                }
            )]
        );
        let takes = |function, takes| Kind::Arguments { function, takes };
        assert_eq!(
            faults("contains('a')"),
            [(0, takes("contains", "two arguments"))]
        );
        assert_eq!(faults("always(1)"), [(0, takes("always", "no arguments"))]);
        assert!(matches!(
            &faults("conatins('a', 'b')")[..],
            [(0, Kind::Function { known, .. })] if known.len() == 11
        ));
    }
}

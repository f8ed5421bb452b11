//! The functions of the language: their names and what they may be called with.
//!
//! What they do is in [`super::functions`] and, for those with a predicate, in [`super::predicates`].

use super::error::{Error, Span};
use super::types::Type;
use super::value::{Elements, MapForm};

/// An argument of a function that takes a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Any expression.
    Value {
        /// Whether it may be left out.
        optional: bool,
    },
    /// An expression about `#`.
    Predicate {
        /// Whether it may be left out.
        optional: bool,
    },
}

impl Argument {
    /// Whether it may be left out.
    pub fn is_optional(self) -> bool {
        match self {
            Argument::Value { optional } | Argument::Predicate { optional } => optional,
        }
    }
}

macro_rules! builtins {
    ($($variant:ident $name:literal,)*) => {
        /// A function of the language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Builtin { $($variant,)* }

        impl Builtin {
            /// Returns the function of this name.
            pub fn named(name: &str) -> Option<Self> {
                Some(match name { $($name => Self::$variant,)* _ => return None })
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

builtins! {
    All "all", None "none", Any "any", One "one", Filter "filter", Map "map", Find "find",
    FindIndex "findIndex", FindLast "findLast", FindLastIndex "findLastIndex", Count "count", Sum "sum",
    GroupBy "groupBy", SortBy "sortBy", Reduce "reduce",
    Len "len", Type "type", Abs "abs", Ceil "ceil", Floor "floor", Round "round", Int "int", Float "float",
    String "string", Trim "trim", TrimPrefix "trimPrefix", TrimSuffix "trimSuffix", Upper "upper",
    Lower "lower", Split "split", SplitAfter "splitAfter", Replace "replace", Repeat "repeat", Join "join",
    IndexOf "indexOf", LastIndexOf "lastIndexOf", HasPrefix "hasPrefix", HasSuffix "hasSuffix", Max "max",
    Min "min", Mean "mean", Median "median", ToJson "toJSON", FromJson "fromJSON", ToBase64 "toBase64",
    FromBase64 "fromBase64", Now "now", Duration "duration", Date "date", Timezone "timezone",
    First "first", Last "last", Get "get", Take "take", Keys "keys", Values "values", ToPairs "toPairs",
    FromPairs "fromPairs", Reverse "reverse", Uniq "uniq", Concat "concat", Flatten "flatten", Sort "sort",
    BitAnd "bitand", BitOr "bitor", BitXor "bitxor", BitNand "bitnand", BitShl "bitshl", BitShr "bitshr",
    BitUshr "bitushr", BitNot "bitnot",
}

/// What a parameter takes, where Go's types say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parameter {
    Anything,
    Text,
    Integer,
    Anys,
    Texts,
    Integers,
    Floats,
}

use Parameter::{Anys, Anything, Floats, Integer, Integers, Text, Texts};

impl Parameter {
    fn to_type(self) -> Type {
        match self {
            Anything => Type::Any,
            Text => Type::String,
            Integer => Type::Int,
            Anys => Type::list(Elements::Any),
            Texts => Type::list(Elements::String),
            Integers => Type::list(Elements::Int),
            Floats => Type::list(Elements::Float),
        }
    }
}

/// The types that a function may be called with: one of the lists has to fit.
type Overloads = &'static [&'static [Parameter]];

impl Builtin {
    /// The arguments of a function that takes a predicate, and nothing for others.
    pub fn predicate_arguments(self) -> Option<&'static [Argument]> {
        const VALUE: Argument = Argument::Value { optional: false };
        const PREDICATE: Argument = Argument::Predicate { optional: false };
        const MAYBE_PREDICATE: Argument = Argument::Predicate { optional: true };
        const MAYBE_VALUE: Argument = Argument::Value { optional: true };
        Some(match self {
            Self::All
            | Self::None
            | Self::Any
            | Self::One
            | Self::Filter
            | Self::Map
            | Self::Find
            | Self::FindIndex
            | Self::FindLast
            | Self::FindLastIndex
            | Self::GroupBy => &[VALUE, PREDICATE],
            Self::Count | Self::Sum => &[VALUE, MAYBE_PREDICATE],
            Self::SortBy | Self::Reduce => &[VALUE, PREDICATE, MAYBE_VALUE],
            _ => return None,
        })
    }

    fn overloads(self) -> Option<(Overloads, Type)> {
        let text = Type::String;
        Some(match self {
            Self::Type | Self::String | Self::ToJson => (&[&[Anything]], text),
            Self::Trim => (&[&[Text], &[Text, Text]], text),
            Self::TrimPrefix | Self::TrimSuffix => (&[&[Text, Text], &[Text]], text),
            Self::Upper | Self::Lower | Self::ToBase64 | Self::FromBase64 => (&[&[Text]], text),
            Self::Split | Self::SplitAfter => {
                (&[&[Text, Text], &[Text, Text, Integer]], Type::list(Elements::String))
            }
            Self::Replace => (&[&[Text, Text, Text, Integer], &[Text, Text, Text]], text),
            Self::Repeat => (&[&[Text, Integer]], text),
            Self::Join => (&[&[Texts, Text], &[Anys, Text], &[Anys], &[Texts]], text),
            Self::IndexOf | Self::LastIndexOf => (&[&[Text, Text]], Type::Int),
            Self::HasPrefix | Self::HasSuffix => (&[&[Text, Text]], Type::Bool),
            Self::FromJson => (&[&[Text]], Type::Any),
            Self::Duration => (&[&[Text]], Type::Duration),
            Self::Timezone => (&[&[Text]], Type::Zone),
            Self::Sort => (
                &[
                    &[Anys, Text],
                    &[Integers, Text],
                    &[Floats, Text],
                    &[Texts, Text],
                    &[Anys],
                    &[Floats],
                    &[Texts],
                    &[Integers],
                ],
                Type::list(Elements::Any),
            ),
            Self::BitAnd
            | Self::BitOr
            | Self::BitXor
            | Self::BitNand
            | Self::BitShl
            | Self::BitShr
            | Self::BitUshr => (&[&[Integer, Integer]], Type::Int),
            Self::BitNot => (&[&[Integer]], Type::Int),
            _ => return None,
        })
    }

    /// Decides whether arguments fit and what comes out. `span` is that of the call, `spans` those of the
    /// arguments. Functions with predicates and `get` are looked at elsewhere, since their arguments are
    /// more than types.
    pub fn check(self, arguments: &[Type], span: Span, spans: &[Span]) -> Result<Type, Error> {
        if let Some((overloads, out)) = self.overloads() {
            let mut last = None;
            for parameters in overloads {
                let parameters: Vec<Type> = parameters.iter().map(|parameter| parameter.to_type()).collect();
                match check_arguments(self.name(), &parameters, arguments, span, spans) {
                    Ok(()) => return Ok(out),
                    Err(error) => last = Some(error),
                }
            }
            return Err(last.unwrap_or_else(|| Error::new("no matching overload", span)));
        }
        self.check_by_rule(arguments).map_err(|message| Error::new(message, span))
    }

    fn check_by_rule(self, arguments: &[Type]) -> Result<Type, String> {
        let wrong = |expected: &str| {
            Err(format!("invalid number of arguments (expected {expected}, got {})", arguments.len()))
        };
        let any_list = Type::list(Elements::Any);
        let is_list = |t: &Type| t.is_unknown() || t.is_list();
        match self {
            Self::Max | Self::Min | Self::Mean | Self::Median => {
                for argument in arguments {
                    if is_list(argument) {
                        return Ok(Type::Any);
                    }
                    if !(argument.is_number() || *argument == Type::Duration) {
                        return Err(invalid(self.name(), argument));
                    }
                }
                let none = || format!("not enough arguments to call {}", self.name());
                return arguments.first().cloned().ok_or_else(none);
            }
            Self::Concat => {
                if arguments.is_empty() {
                    return wrong("at least 1");
                }
                return match arguments.iter().find(|argument| !is_list(argument)) {
                    Some(argument) => Err(format!("cannot concat {}", shown(argument))),
                    None => Ok(any_list),
                };
            }
            Self::Now => {
                return match arguments {
                    [] | [Type::Zone] => Ok(Type::Time),
                    _ => wrong("0"),
                };
            }
            Self::Date => {
                let count = arguments.len() - usize::from(arguments.first() == Some(&Type::Zone));
                return match arguments.len() {
                    0 => wrong("at least 1"),
                    _ if count > 3 => wrong("at most 3"),
                    _ => Ok(Type::Time),
                };
            }
            Self::Take => {
                let [from, count] = arguments else { return wrong("2") };
                if !is_list(from) {
                    return Err(format!("cannot take from {}", shown(from)));
                }
                if !(count.is_unknown() || count.is_integer()) {
                    return Err(format!("cannot take {} elements", shown(count)));
                }
                return Ok(from.clone());
            }
            _ => {}
        }
        let [argument] = arguments else { return wrong("1") };
        let cannot = |what: &str| Err(format!("cannot {what} {}", shown(argument)));
        let is_number = argument.is_unknown() || argument.is_number();
        let is_map = argument.is_unknown() || matches!(argument, Type::Map(_));
        let item = |argument: &Type| match argument {
            Type::List(of, _) => match Type::list(of.clone()) {
                Type::List(_, item) => (*item).clone(),
                other => other,
            },
            _ => Type::Any,
        };
        match self {
            Self::Len if is_list(argument) || is_map || *argument == Type::String => Ok(Type::Int),
            Self::Abs if is_number => Ok(argument.clone()),
            Self::Ceil | Self::Floor | Self::Round if is_number => Ok(Type::Float),
            Self::Int if is_number || matches!(argument, Type::String | Type::Duration) => Ok(Type::Int),
            Self::Float if is_number || matches!(argument, Type::String | Type::Duration) => Ok(Type::Float),
            Self::First | Self::Last if is_list(argument) => Ok(item(argument)),
            Self::First => cannot("get first element from"),
            Self::Last => cannot("get last element from"),
            Self::Keys | Self::Values | Self::ToPairs if is_map => Ok(any_list),
            Self::Keys => cannot("get keys from"),
            Self::Values => cannot("get values from"),
            Self::ToPairs => Err(format!("cannot transform {} to pairs", shown(argument))),
            Self::FromPairs if is_list(argument) => Ok(Type::Map(MapForm::AnyKeys)),
            Self::FromPairs => Err(format!("cannot transform {} from pairs", shown(argument))),
            Self::Reverse | Self::Uniq | Self::Flatten if is_list(argument) => Ok(any_list),
            Self::Reverse | Self::Uniq | Self::Flatten => cannot(self.name()),
            _ => Err(invalid(self.name(), argument)),
        }
    }
}

fn invalid(name: &str, argument: &Type) -> String {
    format!("invalid argument for {name} (type {})", shown(argument))
}

/// A type in the messages of functions, which call nil by another name than operators do.
fn shown(argument: &Type) -> String {
    if *argument == Type::Nil { "%!s(<nil>)".to_owned() } else { argument.go_type().into_owned() }
}

/// Decides whether arguments fit parameters that are given as types.
pub fn check_arguments(
    name: &str,
    parameters: &[Type],
    arguments: &[Type],
    span: Span,
    spans: &[Span],
) -> Result<(), Error> {
    if arguments.len() > parameters.len() {
        return Err(Error::new(format!("too many arguments to call {name}"), span));
    }
    if arguments.len() < parameters.len() {
        return Err(Error::new(format!("not enough arguments to call {name}"), span));
    }
    for (position, (parameter, argument)) in parameters.iter().zip(arguments).enumerate() {
        let span = spans.get(position).copied().unwrap_or(span);
        let wanted = parameter.go_type();
        if argument.is_integer() && (parameter.is_integer() || *parameter == Type::Float) {
            continue;
        }
        if *argument == Type::Nil {
            if *parameter == Type::Any {
                continue;
            }
            let message = format!("cannot use nil as argument (type {wanted}) to call {name}");
            return Err(Error::new(message, span));
        }
        if !argument.is_unknown() && !argument.is_assignable_to(parameter) {
            // The space at the end is the original's.
            let given = argument.go_type();
            let message = format!("cannot use {given} as argument (type {wanted}) to call {name} ");
            return Err(Error::new(message, span));
        }
    }
    Ok(())
}

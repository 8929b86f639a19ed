//! What `#[handler]` checks and writes. Pure functions from tokens to tokens.
//!
//! The expansion is the user's function as it stands, an implementation of `__internal::Function` that calls it, the
//! exports, and `main`. Everything else is ordinary code in the SDK.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Error, FnArg, Ident, Item, ItemFn, Path, ReturnType, Safety, Signature, Token, Type,
    parse::{ParseStream, Parser},
    spanned::Spanned,
};

const ITEM_FORM: &str = "`#[handler]` goes on a function: `fn handle(event: E) -> Result<R, Error>`";
const ATTRIBUTE_FORM: &str = "`#[handler]` takes nothing, or functions to run at other times: `#[handler(init = prepare)]`; \
                              beside `init` there are `before_snapshot` and `after_restore`";

/// The function and what makes it a handler.
///
/// # Errors
///
/// Every mistake in the attribute and in the signature, each at its token.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let hooks = parse_attribute.parse2(attribute);
    let function = parse_function(item);
    let expansion = function.and_then(|function| {
        let handler = Handler::parse(&function.sig)?;
        let without = Hooks::default();
        Ok(generate(&function, &handler, hooks.as_ref().unwrap_or(&without)))
    });
    match (hooks, expansion) {
        (Ok(_), expansion) => expansion,
        (Err(error), Ok(_)) => Err(error),
        (Err(mut error), Err(other)) => {
            error.combine(other);
            Err(error)
        }
    }
}

/// The mistakes, beside the item as it stands and a `main`: without these the compiler would go on to complain about
/// what is only a consequence.
pub(crate) fn explain(error: &Error, item: TokenStream) -> TokenStream {
    let messages = error.to_compile_error();
    let is_main = parse_function(item.clone()).is_ok_and(|function| function.sig.ident == "main");
    let item = if is_main { TokenStream::new() } else { item };
    quote!(#messages #item fn main() {})
}

/// The functions that the attribute names.
#[derive(Default)]
struct Hooks {
    init: Option<Path>,
    before_snapshot: Option<Path>,
    after_restore: Option<Path>,
}

/// `init = path` and the like, each once, or nothing.
fn parse_attribute(input: ParseStream<'_>) -> syn::Result<Hooks> {
    let explained = |error: Error| Error::new(error.span(), ATTRIBUTE_FORM);
    let mut hooks = Hooks::default();
    while !input.is_empty() {
        let argument: Ident = input.parse().map_err(explained)?;
        let hook = match argument.to_string().as_str() {
            "init" => &mut hooks.init,
            "before_snapshot" => &mut hooks.before_snapshot,
            "after_restore" => &mut hooks.after_restore,
            _ => {
                return Err(Error::new(
                    argument.span(),
                    format!("unknown argument `{argument}`: {ATTRIBUTE_FORM}"),
                ));
            }
        };
        if hook.is_some() {
            return Err(Error::new(argument.span(), ATTRIBUTE_FORM));
        }
        input.parse::<Token![=]>().map_err(explained)?;
        *hook = Some(input.call(Path::parse_mod_style).map_err(explained)?);
        if !input.is_empty() {
            input.parse::<Token![,]>().map_err(explained)?;
        }
    }
    Ok(hooks)
}

fn parse_function(item: TokenStream) -> syn::Result<ItemFn> {
    let Item::Fn(function) = syn::parse2(item.clone())? else {
        return Err(Error::new_spanned(item, ITEM_FORM));
    };
    Ok(function)
}

/// The parts of a right signature.
struct Handler<'a> {
    name: &'a Ident,
    event: &'a Type,
    context: Option<&'a Type>,
    answer: &'a Type,
}

impl<'a> Handler<'a> {
    fn parse(signature: &'a Signature) -> syn::Result<Self> {
        let mut mistakes = Vec::new();
        let name = &signature.ident;
        if name == "main" {
            let message = "`#[handler]` writes a `main` of its own: give the handler another name";
            mistakes.push(Error::new(name.span(), message));
        }
        if let Some(token) = &signature.asyncness {
            let message = "a handler is not `async`: a guest answers one event at a time and may block";
            mistakes.push(Error::new(token.span, message));
        }
        if let Safety::Unsafe(token) = &signature.safety {
            let message = "a handler is not `unsafe`: whoever sends an event can promise nothing";
            mistakes.push(Error::new(token.span, message));
        }
        if !signature.generics.params.is_empty() {
            let message = "a handler is not generic: its event and its answer have one type each";
            mistakes.push(Error::new_spanned(&signature.generics, message));
        }
        let mut types = Vec::new();
        for argument in &signature.inputs {
            match argument {
                FnArg::Receiver(receiver) => {
                    let message = "a handler is a free function: there is no `self` to call it on";
                    mistakes.push(Error::new_spanned(receiver, message));
                }
                FnArg::Typed(argument) if types.len() == 2 => {
                    let message = "a handler takes an event and a context, and nothing else";
                    mistakes.push(Error::new_spanned(argument, message));
                }
                FnArg::Typed(argument) => {
                    mistakes.extend(mistake_of_type(&argument.ty));
                    types.push(&*argument.ty);
                }
            }
        }
        if signature.inputs.is_empty() {
            let message = "a handler takes the event: `event: E`, or `event: Vec<u8>` for its bytes";
            mistakes.push(Error::new(signature.paren_token.span.join(), message));
        }
        if let ReturnType::Default = signature.output {
            let message = "a handler says what it answers: `-> Result<R, Error>`, where `()` as `R` is `null`";
            mistakes.push(Error::new(signature.paren_token.span.close(), message));
        }

        match (mistakes.is_empty(), types.as_slice(), &signature.output) {
            (true, [event], ReturnType::Type(_, answer)) => Ok(Self {
                name,
                event,
                context: None,
                answer,
            }),
            (true, [event, context], ReturnType::Type(_, answer)) => Ok(Self {
                name,
                event,
                context: Some(context),
                answer,
            }),
            _ => {
                let name_shown = if name == "main" {
                    "handle".to_owned()
                } else {
                    name.to_string()
                };
                let form = format!(
                    "a handler has the form `fn {name_shown}(event: E, context: Context) -> Result<R, Error>`, with or \
                     without the context"
                );
                let mut error = Error::new(name.span(), form);
                mistakes.into_iter().for_each(|mistake| error.combine(mistake));
                Err(error)
            }
        }
    }
}

/// What is wrong with an argument's type, as far as tokens tell.
fn mistake_of_type(argument: &Type) -> Option<Error> {
    let message = if let Type::Reference(_) = argument {
        "a handler owns what it is given: take it by value"
    } else if let Type::ImplTrait(_) = argument {
        "a handler is not generic: its event has one type"
    } else {
        return None;
    };
    Some(Error::new_spanned(argument, message))
}

fn generate(function: &ItemFn, handler: &Handler<'_>, hooks: &Hooks) -> TokenStream {
    let Hooks {
        init,
        before_snapshot,
        after_restore,
    } = hooks;
    let Handler {
        name,
        event,
        context,
        answer,
    } = handler;
    // Hygienic, so that the handler may have the name of a variable here.
    let hidden = Span::mixed_site();
    // A type that does not fit is reported where the user wrote it.
    let at = |place: &dyn Spanned| place.span().resolved_at(hidden);
    let decode = quote_spanned!(at(event)=> ::orlop_sdk::__internal::decode::<#event>);
    let context = context.map(|context| quote_spanned!(at(context)=> , context));
    let encode = quote_spanned!(at(answer)=> .encode(answer));
    let run = |path: &Path| quote_spanned!(at(path)=> ::orlop_sdk::__internal::prepare(#path));
    let init_method = init.as_ref().map(|path| {
        let prepare = run(path);
        quote_spanned! {hidden=>
            fn init() -> ::core::result::Result<(), ::orlop_sdk::Error> {
                static PREPARED: ::orlop_sdk::__internal::Prepared = ::orlop_sdk::__internal::Prepared::new();
                PREPARED.or(|| #prepare)
            }
        }
    });
    let snap_start_methods = [("before_snapshot", before_snapshot), ("after_restore", after_restore)]
        .into_iter()
        .filter_map(|(name, path)| {
            let (name, hook) = (Ident::new(name, hidden), run(path.as_ref()?));
            Some(quote_spanned!(hidden=> fn #name() -> ::core::result::Result<(), ::orlop_sdk::Error> { #hook }))
        });
    let snap_start = (before_snapshot.is_some() || after_restore.is_some()).then(|| {
        quote_spanned! {hidden=>
            ::orlop_sdk::__internal::export_snap_start!(
                __OrlopFunction with_types_in ::orlop_sdk::__internal::snap_start
            );
        }
    });
    let lifecycle = init.as_ref().map(|_| {
        quote_spanned! {hidden=>
            ::orlop_sdk::__internal::export_lifecycle!(
                __OrlopFunction with_types_in ::orlop_sdk::__internal::preparation
            );
        }
    });

    quote_spanned! {hidden=>
        #function

        #[doc(hidden)]
        enum __OrlopFunction {}

        #[automatically_derived]
        impl ::orlop_sdk::__internal::Function for __OrlopFunction {
            #init_method

            #(#snap_start_methods)*

            fn handle(
                event: ::std::vec::Vec<u8>,
                context: ::orlop_sdk::Context,
            ) -> ::core::result::Result<::std::vec::Vec<u8>, ::orlop_sdk::Error> {
                use ::orlop_sdk::__internal::{Fallible as _, Infallible as _};
                let answer = #name(#decode(event)? #context);
                (&answer).encoder()#encode
            }
        }

        // Only WebAssembly has these exports; elsewhere the guest is a program, which tests can run.
        #[cfg(target_family = "wasm")]
        const _: () = {
            ::orlop_sdk::__internal::export_handler!(
                __OrlopFunction with_types_in ::orlop_sdk::__internal::function
            );
            #lifecycle
            #snap_start
        };

        fn main() -> ::std::process::ExitCode {
            ::orlop_sdk::__internal::main::<__OrlopFunction>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(source: &str) -> TokenStream {
        source.parse().expect("a test writes tokens")
    }

    fn assert_expands(attribute: &str, item: &str, saved: &str) {
        let expansion = expand(tokens(attribute), tokens(item)).expect("a test writes a handler");
        // How tokens are spaced depends on where they come from.
        let unspaced = |tokens: TokenStream| tokens.to_string().replace(char::is_whitespace, "");
        assert_eq!(unspaced(expansion), unspaced(tokens(saved)));
    }

    fn mistakes(attribute: &str, item: &str) -> Vec<String> {
        let error = expand(tokens(attribute), tokens(item)).expect_err("a test makes mistakes");
        error.into_iter().map(|mistake| mistake.to_string()).collect()
    }

    #[test]
    fn an_event_is_decoded_and_the_answer_encoded() {
        let item = "fn greet(name: String) -> Result<String, Error> { Ok(name) }";
        assert_expands("", item, include_str!("../expansions/event.rs"));
    }

    #[test]
    fn the_context_is_handed_on() {
        let item = "fn greet(name: String, context: Context) -> String { name + &context.request_id }";
        assert_expands("", item, include_str!("../expansions/context.rs"));
    }

    #[test]
    fn only_a_guest_with_init_exports_the_lifecycle() {
        let item = "fn greet(name: String) -> Result<String, Error> { Ok(name) }";
        assert_expands("init = setup::prepare", item, include_str!("../expansions/init.rs"));
    }

    #[test]
    fn only_a_guest_with_hooks_exports_them() {
        let item = "fn greet(name: String) -> Result<String, Error> { Ok(name) }";
        assert_expands(
            "after_restore = renew",
            item,
            include_str!("../expansions/snap_start.rs"),
        );
    }

    #[test]
    fn all_mistakes_are_reported_at_once_after_the_right_form() {
        let mistakes = mistakes(
            "start = prepare",
            "async unsafe fn greet<T>(&self, a: &u8, b: u8, c: T) {}",
        );
        assert_eq!(mistakes.len(), 9, "{mistakes:#?}");
        assert!(mistakes[0].starts_with("unknown argument `start`"));
        assert!(mistakes[1].contains("`fn greet(event: E, context: Context) -> Result<R, Error>`"));
    }

    #[test]
    fn a_mistake_in_the_attribute_leaves_the_signature_alone() {
        assert_eq!(
            mistakes("init = 3", "fn greet(name: String) -> String { name }"),
            [ATTRIBUTE_FORM]
        );
    }

    #[test]
    fn after_a_mistake_there_is_one_main() {
        let error = Error::new(Span::call_site(), "no");
        let count = |item: &str| explain(&error, tokens(item)).to_string().matches("fn main").count();
        assert_eq!(count("fn greet() {}"), 1);
        assert_eq!(count("fn main(event: E) -> R {}"), 1);
    }
}

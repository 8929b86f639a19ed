//! The attribute macro of `orlop-sdk`. Its documentation is on the re-export there.

mod handler;

use proc_macro::TokenStream;

/// Makes a function the handler of this guest.
#[proc_macro_attribute]
pub fn handler(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    handler::expand(attribute.into(), item.clone())
        .unwrap_or_else(|error| handler::explain(&error, item))
        .into()
}

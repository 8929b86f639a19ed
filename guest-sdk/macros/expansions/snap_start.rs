fn greet(name: String) -> Result<String, Error> {
    Ok(name)
}

#[doc(hidden)]
enum __OrlopFunction {}

#[automatically_derived]
impl ::orlop_sdk::__internal::Function for __OrlopFunction {
    fn after_restore() -> ::core::result::Result<(), ::orlop_sdk::Error> {
        ::orlop_sdk::__internal::prepare(renew)
    }

    fn handle(
        event: ::std::vec::Vec<u8>,
        context: ::orlop_sdk::Context,
    ) -> ::core::result::Result<::std::vec::Vec<u8>, ::orlop_sdk::Error> {
        use ::orlop_sdk::__internal::{Fallible as _, Infallible as _};
        let answer = greet(::orlop_sdk::__internal::decode::<String>(event)?);
        (&answer).encoder().encode(answer)
    }
}

#[cfg(target_family = "wasm")]
const _: () = {
    ::orlop_sdk::__internal::export_handler!(__OrlopFunction with_types_in ::orlop_sdk::__internal::function);
    ::orlop_sdk::__internal::export_snap_start!(__OrlopFunction with_types_in ::orlop_sdk::__internal::snap_start);
};

fn main() -> ::std::process::ExitCode {
    ::orlop_sdk::__internal::main::<__OrlopFunction>()
}

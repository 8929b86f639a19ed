//! The WIT contract in Rust, and where it meets the handler. The generated code stays in here.

use crate::{Context, Error};

/// The world every guest has.
#[expect(missing_docs, reason = "generated; the words are in `wit/`")]
pub mod function {
    wit_bindgen::generate!({
        path: "../wit",
        world: "function",
        pub_export_macro: true,
        export_macro_name: "__export_handler",
    });
}

/// What a guest with `init` exports besides. A world of its own, so that a guest without does not export it.
#[expect(missing_docs, reason = "generated; the words are in `wit/`")]
pub mod preparation {
    wit_bindgen::generate!({
        path: "../wit",
        world: "preparation",
        with: { "orlop:function/types@0.1.0": super::function::orlop::function::types },
        pub_export_macro: true,
        export_macro_name: "__export_lifecycle",
    });
}

/// What a guest with hooks for SnapStart exports besides.
#[expect(missing_docs, reason = "generated; the words are in `wit/`")]
pub mod snap_start {
    wit_bindgen::generate!({
        path: "../wit",
        world: "snap-start-hooks",
        with: { "orlop:function/types@0.1.0": super::function::orlop::function::types },
        pub_export_macro: true,
        export_macro_name: "__export_snap_start",
    });
}

pub use function::__export_handler as export_handler;
use function::orlop::function::types;
pub use preparation::__export_lifecycle as export_lifecycle;
pub use snap_start::__export_snap_start as export_snap_start;

/// A guest as the macro describes it: bytes in, bytes out.
pub trait Function {
    /// Prepares the guest. Called once, before the first event.
    fn init() -> Result<(), Error> {
        Ok(())
    }

    /// Gets ready for a snapshot of SnapStart's.
    fn before_snapshot() -> Result<(), Error> {
        Ok(())
    }

    /// Makes anew what must not be the same in every copy of a snapshot.
    fn after_restore() -> Result<(), Error> {
        Ok(())
    }

    /// Answers one event.
    fn handle(event: Vec<u8>, context: Context) -> Result<Vec<u8>, Error>;
}

impl<F: Function> function::exports::orlop::function::handler::Guest for F {
    fn handle(event: Vec<u8>, context: types::Context) -> Result<Vec<u8>, types::FunctionError> {
        Ok(F::handle(event, context.into())?)
    }
}

impl<F: Function> preparation::exports::orlop::function::lifecycle::Guest for F {
    fn init() -> Result<(), types::FunctionError> {
        Ok(F::init()?)
    }
}

impl<F: Function> snap_start::exports::orlop::function::snap_start::Guest for F {
    fn before_snapshot() -> Result<(), types::FunctionError> {
        Ok(F::before_snapshot()?)
    }

    fn after_restore() -> Result<(), types::FunctionError> {
        Ok(F::after_restore()?)
    }
}

impl From<types::Context> for Context {
    fn from(context: types::Context) -> Self {
        let types::Context {
            request_id,
            function_name,
            function_version,
            invoked_function_arn,
            deadline_ms,
            memory_limit_mb,
            trace_id,
            client_context,
            identity,
            tenant_id,
            log_group,
            log_stream,
        } = context;
        Self {
            request_id,
            function_name,
            function_version,
            invoked_function_arn,
            deadline: crate::context::deadline(deadline_ms),
            memory_limit_mb,
            trace_id,
            client_context,
            identity,
            tenant_id,
            log_group,
            log_stream,
        }
    }
}

impl From<Error> for types::FunctionError {
    fn from(error: Error) -> Self {
        let (error_type, message, stack_trace) = error.into_parts();
        Self {
            error_type,
            message,
            stack_trace,
        }
    }
}

//! `wasi:sockets@0.2` where there is no network: toolchains import it into guests that never use it. Whoever asks for a socket or for
//! a name's address is refused as by wasmtime's own implementation, which is not linked for the sake of the program's size.

use wasmtime::component::types::{ComponentInstance, ComponentItem, Type};
use wasmtime::component::{Linker, Resource, ResourceAny, ResourceType, Val};
use wasmtime::{Engine, Error, Result, StoreContextMut};

use super::wasi::State;

/// What stands for the network, and is good for nothing.
struct Network;

/// A socket, a stream of datagrams or of addresses. There is none.
struct Never;

/// The resources that the interfaces define; the rest of what they name is from `wasi:io`.
const NETWORK: &str = "network";
const NEVER: [&str; 5] = [
    "tcp-socket",
    "udp-socket",
    "incoming-datagram-stream",
    "outgoing-datagram-stream",
    "resolve-address-stream",
];

/// Links one of the interfaces with the members that a component imports.
pub(super) fn add_to_linker(
    linker: &mut Linker<State>,
    interface: &str,
    imported: &ComponentInstance,
    engine: &Engine,
) -> Result<()> {
    let mut instance = linker.instance(interface)?;
    for (name, member) in imported.exports(engine) {
        match member.ty {
            ComponentItem::ComponentFunc(_) => {
                instance.func_new_async(name, |mut store, function, arguments, results| {
                    Box::new(async move {
                        for argument in arguments {
                            if let Val::Resource(lent) = argument {
                                lent.resource_drop_async(&mut store).await?;
                            }
                        }
                        if let (Some(result), Some(wanted)) = (results.first_mut(), function.results().next()) {
                            *result = answer(store, &wanted)?;
                        }
                        Ok(())
                    })
                })?;
            }
            ComponentItem::Resource(_) if name == NETWORK => {
                instance.resource(name, ResourceType::host::<Network>(), |_, _| Ok(()))?;
            }
            ComponentItem::Resource(_) if NEVER.contains(&name) => {
                instance.resource(name, ResourceType::host::<Never>(), |_, _| Ok(()))?;
            }
            ComponentItem::Resource(_)
            | ComponentItem::CoreFunc(_)
            | ComponentItem::Module(_)
            | ComponentItem::Component(_)
            | ComponentItem::ComponentInstance(_)
            | ComponentItem::Type(_) => {}
        }
    }
    Ok(())
}

/// What a function answers that returns that.
fn answer(store: StoreContextMut<'_, State>, wanted: &Type) -> Result<Val> {
    if let Type::Result(_) = wanted {
        let code = Val::Enum("access-denied".to_owned());
        Ok(Val::Result(Err(Some(Box::new(code)))))
    } else if let Type::Own(_) = wanted {
        ResourceAny::try_from_resource(Resource::<Network>::new_own(0), store).map(Val::Resource)
    } else if let Type::Option(_) = wanted {
        // The code of an error that no socket has made.
        Ok(Val::Option(None))
    } else {
        Err(Error::msg("a function of a socket was called, and there is none"))
    }
}

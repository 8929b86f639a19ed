//! `wasi:sockets@0.2` where there is no network: toolchains import it into guests that never use it. Whoever asks for a socket or for
//! a name's address is refused as by wasmtime's own implementation, which is not linked for the sake of the program's size.

use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};
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
            ComponentItem::ComponentFunc(function) => {
                let answer = Answer::of(&function);
                instance.func_new_async(name, move |mut store, _, arguments, results| {
                    Box::new(async move {
                        for argument in arguments {
                            if let Val::Resource(lent) = argument {
                                lent.resource_drop_async(&mut store).await?;
                            }
                        }
                        results.fill(answer.value(store)?);
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

/// What a function answers, which shows in what it returns.
#[derive(Clone, Copy)]
enum Answer {
    /// The network.
    Network,
    /// An error, where a socket or an address was asked for.
    Denied,
    /// Nothing, where the code of an error was asked for: no socket has made it.
    Nothing,
    /// The function is of a socket.
    Never,
}

impl Answer {
    fn of(function: &ComponentFunc) -> Self {
        let result = function.results().next();
        if let Some(Type::Own(_)) = result {
            Self::Network
        } else if let Some(Type::Result(_)) = result {
            Self::Denied
        } else if let Some(Type::Option(_)) = result {
            Self::Nothing
        } else {
            Self::Never
        }
    }

    fn value(self, store: StoreContextMut<'_, State>) -> Result<Val> {
        match self {
            Self::Network => ResourceAny::try_from_resource(Resource::<Network>::new_own(0), store).map(Val::Resource),
            Self::Denied => {
                let code = Val::Enum("access-denied".to_owned());
                Ok(Val::Result(Err(Some(Box::new(code)))))
            }
            Self::Nothing => Ok(Val::Option(None)),
            Self::Never => Err(Error::msg("a function of a socket was called, and there is none")),
        }
    }
}

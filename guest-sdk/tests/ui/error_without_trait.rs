struct OrderNotFound;

#[orlop_sdk::handler]
fn order(_id: u32) -> Result<u32, OrderNotFound> {
    Err(OrderNotFound)
}

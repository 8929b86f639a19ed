struct Order {
    id: u32,
}

#[orlop_sdk::handler]
fn order(order: Order) -> Result<u32, orlop_sdk::Error> {
    Ok(order.id)
}

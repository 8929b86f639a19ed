struct Order {
    id: u32,
}

#[orlop_sdk::handler]
fn order(id: u32) -> Result<Order, orlop_sdk::Error> {
    Ok(Order { id })
}

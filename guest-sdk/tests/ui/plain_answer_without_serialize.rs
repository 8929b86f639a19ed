struct Order {
    id: u32,
}

#[orlop_sdk::handler]
fn order(id: u32) -> Order {
    Order { id }
}

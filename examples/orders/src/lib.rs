//! What the shop's three functions share: what can be ordered, and what makes a good order.
//!
//! Each program in `bin` is a component of its own, and all of them go into one image. `orlop.toml` says which of them
//! takes which event and what it may do: the API nothing at all, the queue call the payment host, the report see one
//! more variable.

use serde::{Deserialize, Serialize};

/// What is on the shelves, with the price of one in cents.
const GOODS: [(&str, u64); 3] = [("rope", 450), ("tar", 1_200), ("lantern", 3_999)];

/// Stands in for a database: identifier, item, quantity.
const ORDERS: [(&str, &str, u32); 3] = [("1001", "rope", 12), ("1002", "tar", 3), ("1003", "lantern", 1)];

/// An order that can be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// One of the goods.
    pub item: String,
    /// From 1 to 1,000.
    pub quantity: u32,
}

impl Order {
    /// Reads an order from JSON.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for whoever ordered: no JSON, not an order, unknown goods, too few or too many of them.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let order: Self = serde_json::from_slice(json).map_err(|error| format!("this is no order: {error}"))?;
        if order.price_of_one().is_none() {
            return Err(format!("there is no {} in this shop", order.item));
        }
        if !(1..=1_000).contains(&order.quantity) {
            return Err("a quantity is from 1 to 1000".to_owned());
        }
        Ok(order)
    }

    /// The price of all of it, in cents.
    pub fn price(&self) -> u64 {
        u64::from(self.quantity) * self.price_of_one().unwrap_or_default()
    }

    fn price_of_one(&self) -> Option<u64> {
        GOODS
            .iter()
            .find(|(item, _)| *item == self.item)
            .map(|(_, price)| *price)
    }
}

/// All orders so far, with their identifiers.
pub fn orders() -> impl Iterator<Item = (&'static str, Order)> {
    ORDERS.into_iter().map(|(id, item, quantity)| {
        let item = item.to_owned();
        (id, Order { item, quantity })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_delivered_is_no_order() {
        for (json, complaint) in [
            ("rope", "this is no order: expected value at line 1 column 1"),
            (
                r#"{"item": "rope"}"#,
                "this is no order: missing field `quantity` at line 1 column 16",
            ),
            (r#"{"item": "sail", "quantity": 1}"#, "there is no sail in this shop"),
            (r#"{"item": "tar", "quantity": 0}"#, "a quantity is from 1 to 1000"),
            (r#"{"item": "tar", "quantity": 1001}"#, "a quantity is from 1 to 1000"),
        ] {
            assert_eq!(Order::parse(json.as_bytes()).unwrap_err(), complaint);
        }
    }

    #[test]
    fn an_order_costs_what_its_goods_cost() {
        let order = Order::parse(br#"{"item": "rope", "quantity": 12}"#).unwrap();
        assert_eq!(order.price(), 5_400);
        assert_eq!(orders().map(|(_, order)| order.price()).sum::<u64>(), 12_999);
    }
}

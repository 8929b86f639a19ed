//! Greets, through Orlop's own interface, with AWS's type of the event: it knows the whole request, as a server does.

use orlop_bench_guests::{Answer, Event};
use orlop_sdk::events::apigw::ApiGatewayV2httpRequest;
use orlop_sdk::handler;

#[handler]
fn greet(event: ApiGatewayV2httpRequest) -> Answer {
    let raw_query_string = event.raw_query_string.unwrap_or_default();
    Answer::new(&Event { raw_query_string })
}

//! Computes until it is stopped; answers `null` at once when the event is `false`.

#[orlop_sdk::handler]
fn spin(is_wanted: bool) -> Option<()> {
    let mut is_spinning = is_wanted;
    while std::hint::black_box(is_spinning) {
        is_spinning = is_wanted;
    }
    None
}

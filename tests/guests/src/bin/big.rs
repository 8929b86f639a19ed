//! Answers with as many bytes as the event says; from two bytes on they are a JSON string.

#[orlop_sdk::handler]
fn big(length: usize) -> Vec<u8> {
    let mut answer = vec![b'x'; length];
    if let [first, .., last] = answer.as_mut_slice() {
        (*first, *last) = (b'"', b'"');
    }
    answer
}

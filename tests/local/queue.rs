//! The embedded queue, by `boto3` and the AWS CLI. Most tests are a script in Python; the server's address and what else it
//! knows is in `tests/src/queue_server/prelude.py`.

mod dead_letters;
mod fifo;
mod kept;
mod messages;
mod mistakes;
mod queues;

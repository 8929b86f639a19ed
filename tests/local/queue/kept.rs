//! Queues that are kept on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use orlop_local::queue::{OpenError, Queues, Settings};
use orlop_tests::process::PATIENCE;
use orlop_tests::queue_server::{python, script};
use orlop_tests::{Process, QueueServer, Signal};
use tempfile::TempDir;

/// How often the server is killed.
const KILLS: usize = 4;

fn open(directory: &Path) -> QueueServer {
    QueueServer::with(Queues::open(Settings::default(), directory).unwrap())
}

#[test]
fn everything_is_as_it_was_when_the_platform_starts_again() {
    let directory = TempDir::new().unwrap();
    let state = directory.path().join("not/yet/there");
    let server = open(&state);
    let printed = server.python(
        r#"
dead = create("dead", MessageRetentionPeriod=1000)
queue = create("orders", VisibilityTimeout=100, RedrivePolicy=redrive("dead", 3), Policy="{}")
sqs.tag_queue(QueueUrl=queue, Tags={"a": "1"})
send(queue, "in flight", MessageAttributes={"b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}})
[message] = receive(queue)
send(queue, "deleted")
[deleted] = receive(queue)
delete(queue, deleted)
send(queue, "visible")
send(queue, "delayed", DelaySeconds=900)
fifo = create("orders.fifo")
first = send(fifo, "1", MessageGroupId="g", MessageDeduplicationId="1")
gone = create("gone")
send(gone, "x")
sqs.delete_queue(QueueUrl=gone)
print(json.dumps({"handle": message["ReceiptHandle"], "first": first["MessageId"], "number": first["SequenceNumber"]}))
"#,
    );
    drop(server);
    let script = r#"
queue, fifo = address + "/000000000000/orders", address + "/000000000000/orders.fifo"
same([url.rsplit("/")[-1] for url in sqs.list_queues()["QueueUrls"]], ["dead", "orders", "orders.fifo"])
attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
same((attributes["VisibilityTimeout"], attributes["Policy"]), ("100", "{}"))
same(json.loads(attributes["RedrivePolicy"])["maxReceiveCount"], 3)
same(sqs.list_queue_tags(QueueUrl=queue)["Tags"], {"a": "1"})
same(counts(queue), (1, 1, 1))
sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=before["handle"], VisibilityTimeout=0)
messages = receive(queue, MessageSystemAttributeNames=["All"], MessageAttributeNames=["All"])
same(bodies(messages), ["in flight", "visible"])
same([one["Attributes"]["ApproximateReceiveCount"] for one in messages], ["2", "1"])
same(messages[0]["MessageAttributes"]["b"]["BinaryValue"], b"\x00\xff")
again = send(fifo, "1", MessageGroupId="g", MessageDeduplicationId="1")
same(again["MessageId"], before["first"])
assert send(fifo, "2", MessageGroupId="g", MessageDeduplicationId="2")["SequenceNumber"] > before["number"]
same(bodies(receive(fifo)), ["1", "2"])
"#;
    open(&state).python(&format!("before = json.loads('''{printed}''')\n{script}"));
}

#[test]
fn two_platforms_do_not_share_a_state() {
    let directory = TempDir::new().unwrap();
    let first = Queues::open(Settings::default(), directory.path()).unwrap();
    let second = Queues::open(Settings::default(), directory.path());
    assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
    drop(first);
    Queues::open(Settings::default(), directory.path()).unwrap();
}

#[test]
fn a_file_that_is_none_of_ours_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("queues.redb");
    std::fs::write(&file, "nothing that a database would write").unwrap();
    let error = Queues::open(Settings::default(), directory.path()).unwrap_err();
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"nothing that a database would write");
}

#[test]
fn a_full_disk_is_reported_and_nothing_is_acknowledged_from_then_on() {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new("sh");
    // A file may have so many blocks of 512 bytes; then writing fails, as on a full disk.
    command.args(["-c", "trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$1\""]);
    command.arg(env!("CARGO_BIN_EXE_queue-server")).arg(directory.path());
    let server = Process::start(command);
    let url = server.wait_for_stdout(|_| true);
    let acknowledged = python(
        &url,
        r#"
queue = create("orders")
small = send(queue, "small")["MessageId"]
[message] = receive(queue)
acknowledged = [small]
try:
    for _ in range(100):
        acknowledged.append(send(queue, "x" * 500000)["MessageId"])
except ClientError as error:
    same(error.response["Error"]["Code"], "InternalFailure")
    same(error.response["ResponseMetadata"]["HTTPStatusCode"], 500)
assert 3 < len(acknowledged) < 100
refused("InternalFailure", "send_message", QueueUrl=queue, MessageBody="x")
refused("InternalFailure", "delete_message", QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
refused("InternalFailure", "delete_message", QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
print(*acknowledged)
"#,
    );
    drop(server);
    let queues = Queues::open(Settings::default(), directory.path()).unwrap();
    let there = queues.peek("orders", 1_000).unwrap();
    let there: Vec<_> = there.iter().map(|message| message.message_id.as_str()).collect();
    assert_eq!(there, acknowledged.split_whitespace().collect::<Vec<_>>());
}

/// Sends and deletes from several threads until the server is gone, and prints what it was told.
const WORK: &str = r#"
queue, fifo = create("orders"), create("orders.fifo")
lock, serial, prefix = threading.Lock(), iter(range(1000000, 2000000)), time.time_ns()
told = 0
def say(*words):
    global told
    with lock:
        told += 1
        print(*words, flush=True)
        if told == 150:
            print("enough", flush=True)
def body():
    return f"{prefix} {next(serial)}"
def sends():
    say("sent", send(queue, body())["MessageId"])
def sends_in_order():
    text = body()
    say("sent", send(fifo, text, MessageGroupId="g", MessageDeduplicationId=text.replace(" ", "-"))["MessageId"])
def sends_batches():
    entries = [{"Id": str(index), "MessageBody": body()} for index in range(5)]
    say("sent", *[one["MessageId"] for one in sqs.send_message_batch(QueueUrl=queue, Entries=entries)["Successful"]])
def deletes():
    for message in receive(queue, 3)[:2]:
        say("deleting", message["MessageId"])
        delete(queue, message)
        say("deleted", message["MessageId"])
def until_the_end(work):
    try:
        while True:
            work()
    except ClientError:
        raise
    except Exception:
        pass
threads = [threading.Thread(target=until_the_end, args=(work,)) for work in [sends, sends_in_order, sends_batches, deletes]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"#;

#[test]
fn a_platform_that_is_killed_loses_nothing_that_it_had_acknowledged() {
    let directory = TempDir::new().unwrap();
    let mut told = BTreeMap::<String, BTreeSet<String>>::new();
    for _ in 0..KILLS {
        let server = Process::start({
            let mut command = Command::new(env!("CARGO_BIN_EXE_queue-server"));
            command.arg(directory.path());
            command
        });
        let url = server.wait_for_stdout(|_| true);
        let work = Process::start(script(&url, WORK));
        work.wait_for_stdout(|line| line == "enough");
        server.signal(Signal::KILL);
        assert!(work.wait_for_exit(PATIENCE).success());
        assert_eq!(work.log(), Vec::<String>::new());
        for line in work.stdout() {
            let mut words = line.split(' ').map(str::to_owned);
            told.entry(words.next().unwrap()).or_default().extend(words);
        }
    }
    let queues = Queues::open(Settings::default(), directory.path()).unwrap();
    let standard = queues.peek("orders", usize::MAX).unwrap();
    let fifo = queues.peek("orders.fifo", usize::MAX).unwrap();
    let there: BTreeSet<_> = standard
        .iter()
        .chain(&fifo)
        .map(|message| &message.message_id)
        .collect();
    let (sent, deleting, deleted) = (&told["sent"], &told["deleting"], &told["deleted"]);
    assert!(
        deleted.len() > KILLS && fifo.len() > KILLS,
        "{} {}",
        deleted.len(),
        fifo.len()
    );
    let lost = sent.difference(deleting).find(|id| !there.contains(id));
    assert_eq!(lost, None);
    assert_eq!(deleted.iter().find(|id| there.contains(id)), None);
    // In the order in which they were sent, over all lives of the platform.
    assert!(fifo.is_sorted_by_key(|message| &message.body));
}

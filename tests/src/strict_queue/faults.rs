//! What goes wrong on the way to the queue and in it.

/// How often something goes wrong, in thousandths of the requests or messages that it can happen to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A request is answered with 500 and nothing is done.
    pub refused: u64,
    /// A request is answered with a throttling error and nothing is done.
    pub throttled: u64,
    /// What was asked for is done, and the connection breaks before the answer.
    pub unanswered: u64,
    /// What was asked for is done, and half of the answer is sent.
    pub cut_short: u64,
    /// An answer takes 300 ms longer.
    pub late: u64,
    /// A request brings a message that is in flight already.
    pub doubled: u64,
    /// A body is changed on its way.
    pub damaged: u64,
    /// One message of a request that deletes several is not deleted.
    pub kept: u64,
}

impl Faults {
    /// One request in about thirty, and one message in about sixty.
    pub fn some() -> Self {
        Self {
            refused: 10,
            throttled: 5,
            unanswered: 10,
            cut_short: 5,
            late: 5,
            doubled: 50,
            damaged: 5,
            kept: 5,
        }
    }
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Served,
    Refused,
    Throttled,
    Unanswered,
    CutShort,
    Late,
}

/// Numbers that look like chance (xorshift64*).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed | 1 << 63)
    }

    /// Whether something happens that happens so often in a thousand times.
    pub(super) fn happens(&mut self, in_thousand: u64) -> bool {
        self.next() % 1000 < in_thousand
    }

    pub(super) fn fate(&mut self, faults: &Faults) -> Fate {
        let mut number = self.next() % 1000;
        let fates = [
            (faults.refused, Fate::Refused),
            (faults.throttled, Fate::Throttled),
            (faults.unanswered, Fate::Unanswered),
            (faults.cut_short, Fate::CutShort),
            (faults.late, Fate::Late),
        ];
        for (share, fate) in fates {
            if number < share {
                return fate;
            }
            number -= share;
        }
        Fate::Served
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }
}

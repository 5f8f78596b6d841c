//! Where a message stands, read from the subject that it is acknowledged on.

/// A message's place in its stream and for its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// How often it has been handed out.
    pub(super) deliveries: u64,
    /// The stream's number of it.
    pub(super) stream: u64,
    /// The consumer's number of it: without a gap, unless a message was lost on the way.
    pub(super) consumer: u64,
}

impl Position {
    /// Reads `$JS.ACK.…`, in the form of 9 parts, or that of 11 and more with domain and account
    /// ([ADR-15](https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md)).
    pub(super) fn read(subject: &str) -> Option<Position> {
        let parts: Vec<&str> = subject.strip_prefix("$JS.ACK.")?.split('.').collect();
        let numbers = match parts.len() {
            7 => parts.get(2..5)?,
            9.. => parts.get(4..7)?,
            _ => return None,
        };
        let number = |at: usize| numbers.get(at)?.parse().ok();
        Some(Position { deliveries: number(0)?, stream: number(1)?, consumer: number(2)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let at = |deliveries, stream, consumer| Some(Position { deliveries, stream, consumer });
        let check = |subject: &str, position| assert_eq!(Position::read(subject), position);
        check("$JS.ACK.KV_b.w1.1.22.3.1795458844632585794.0", at(1, 22, 3));
        check("$JS.ACK.hub.hash.KV_b.w1.1.22.3.1795458844632585794.0", at(1, 22, 3));
        check("$JS.ACK._.hash.KV_b.w1.1.22.3.1795458844632585794.0.random", at(1, 22, 3));
        check("$JS.ACK.KV_b.w1.1.22.x.1795458844632585794.0", None);
        check("$JS.ACK.KV_b.w1.1.22.3.4.5.6", None);
        check("$JS.ACK.1", None);
        check("_INBOX.x", None);
    }
}

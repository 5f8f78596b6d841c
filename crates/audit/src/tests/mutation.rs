//! What somebody can do to the chains who can only write SQL, and knows how they are made.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::world::{World, is_sqlite};
use crate::chain::{Hash, Stored};
use crate::sql::{Ends, Records};

/// Chains of the history that is tampered with; the register's is `*`.
const CHAINS: [&str; 5] = ["*", "acme", "globex", "initech", "platform"];

/// Every kind of mutation, each made with other rows and values each time.
pub(super) const KINDS: &[&str] = &[
    "edit workspace",
    "edit sequence",
    "edit at",
    "edit who",
    "edit who_id",
    "edit role",
    "edit from_address",
    "edit request_id",
    "edit action",
    "edit about",
    "edit before",
    "edit after",
    "edit hash",
    "delete first",
    "delete any",
    "delete last",
    "cut off",
    "cut off, head set back",
    "delete all of a chain but the head",
    "delete a chain",
    "delete a chain and what the register says of it",
    "delete a chain and set the register back",
    "delete the register",
    "delete all of a head",
    "insert before",
    "insert after",
    "insert after, computed, head moved",
    "insert between, computed to the end",
    "insert a chain",
    "insert a chain with a head",
    "swap two places",
    "swap two texts",
    "swap two chains' records",
    "swap two heads",
    "renumber",
    "move a chain",
    "move a chain and what the register says of it",
    "edit head sequence",
    "edit head hash",
    "edit head seal",
    "edit head workspace",
    "seal of another chain",
    "edit, computed to the end",
    "edit, computed to the end, head moved",
    "delete, computed to the end, head moved",
];

/// Written out, it is a positive number with a sign, and that is one too high.
const LOWEST: &str = "-9223372036854775807 - 1";

/// What there is to be tampered with.
pub(super) struct History {
    chains: Vec<Vec<(Stored, Hash)>>,
    seals: Vec<Vec<u8>>,
}

impl History {
    pub(super) async fn of(world: &World) -> History {
        let mut history = History { chains: Vec::new(), seals: Vec::new() };
        for chain in CHAINS {
            let pool = world.store.read();
            let page = Records::page(pool, chain, (1, None), 100).await.unwrap();
            let records = page.into_iter().map(|place| {
                (place.record.unwrap(), Hash(place.hash.unwrap().try_into().unwrap()))
            });
            history.chains.push(records.collect());
            let end = Ends::snapshot(pool, chain).await.unwrap().end.unwrap().unwrap();
            history.seals.push(end.seal);
        }
        history
    }

    /// Statements, each ended by `;` and a new line.
    pub(super) fn mutation(&self, kind: &str, rng: &mut StdRng) -> String {
        let chain = rng.random_range(0..CHAINS.len());
        let other = (chain + rng.random_range(1..CHAINS.len())) % CHAINS.len();
        let w = CHAINS[chain];
        let v = CHAINS[other];
        let records = &self.chains[chain];
        let last = records.len() as i64;
        let n = rng.random_range(1..=last);
        let m = n % last + 1;
        let row = format!("WHERE workspace = '{w}' AND sequence = {n}");
        let all = format!("WHERE workspace = '{w}'");
        if let Some(column) = kind.strip_prefix("edit head ") {
            return format!("UPDATE audit_heads SET {column} = {} {all}", head_edit(column, rng));
        }
        match kind {
            "delete first" => format!("DELETE FROM audit_records {all} AND sequence = 1"),
            "delete any" => format!("DELETE FROM audit_records {row}"),
            "delete last" => format!("DELETE FROM audit_records {all} AND sequence = {last}"),
            "cut off" => format!("DELETE FROM audit_records {all} AND sequence >= {n}"),
            "cut off, head set back" => {
                let hash = if n == 1 { Hash::NONE } else { records[n as usize - 2].1 };
                format!(
                    "DELETE FROM audit_records {all} AND sequence >= {n};\n{}",
                    set_head(w, n - 1, &hash)
                )
            }
            "delete all of a chain but the head" => format!("DELETE FROM audit_records {all}"),
            "delete a chain" => delete(w),
            "delete a chain and what the register says of it" => format!(
                "{};\nDELETE FROM audit_records WHERE workspace = '*' AND about = '{w}'",
                delete(w)
            ),
            "delete a chain and set the register back" => {
                let begun = self.chains[0].len() as i64;
                let hash = self.chains[0][self.chains[0].len() - 2].1;
                format!(
                    "{};\nDELETE FROM audit_records WHERE workspace = '*' AND sequence = {begun};\n{}",
                    delete("platform"),
                    set_head("*", begun - 1, &hash)
                )
            }
            "delete the register" => delete("*"),
            "delete all of a head" => format!("DELETE FROM audit_heads {all}"),
            "insert before" => {
                let at = [0, -1, i64::MIN][rng.random_range(0..3)];
                insert(&Stored { sequence: at, ..records[0].0.clone() }, &records[0].1)
            }
            "insert after" => {
                let (record, hash) = &records[records.len() - 1];
                insert(&Stored { sequence: last + n, ..record.clone() }, hash)
            }
            "insert after, computed, head moved" => {
                let (record, before) = &records[records.len() - 1];
                let record =
                    Stored { sequence: last + 1, about: "mine.example".into(), ..record.clone() };
                let hash = record.hash("test", before);
                format!("{};\n{}", insert(&record, &hash), set_head(w, last + 1, &hash))
            }
            "insert between, computed to the end" => {
                let mut after = records.clone();
                after.insert(n as usize - 1, after[n as usize - 1].clone());
                rewrite(w, after)
            }
            "edit, computed to the end" | "edit, computed to the end, head moved" => {
                let mut after = records.clone();
                after[n as usize - 1].0.who = "mallory".to_owned();
                let rewritten = rewrite(w, after);
                match kind {
                    // Without its last statement.
                    "edit, computed to the end" => {
                        rewritten.rsplit_once(";\n").expect("there are several").0.to_owned()
                    }
                    _ => rewritten,
                }
            }
            "delete, computed to the end, head moved" => {
                let mut after = records.clone();
                after.remove(n as usize - 1);
                rewrite(w, after)
            }
            "insert a chain" | "insert a chain with a head" => {
                let mallory = "mallory".to_owned();
                let record = Stored { workspace: mallory, sequence: 1, ..records[0].0.clone() };
                let hash = record.hash("test", &Hash::NONE);
                let insert = insert(&record, &hash);
                let seal = bytes(&self.seals[chain]);
                let hash = bytes(&hash.0);
                match kind {
                    "insert a chain" => insert,
                    _ => format!(
                        "{insert};\nINSERT INTO audit_heads (workspace, sequence, hash, seal)
                         VALUES ('mallory', 1, {hash}, {seal})"
                    ),
                }
            }
            "swap two places" => swap_places(w, n, m),
            "swap two texts" => {
                let column = ["who", "about", "action", "before", "after", "hash", "at"];
                let column = column[rng.random_range(0..column.len())];
                let of = |n: i64| {
                    format!("(SELECT {column} FROM audit_records {all} AND sequence = {n})")
                };
                format!(
                    "UPDATE audit_records SET {column} = CASE sequence WHEN {n} THEN {} ELSE {} END
                     {all} AND sequence IN ({n}, {m})",
                    of(m),
                    of(n)
                )
            }
            "swap two chains' records" => {
                let move_to = |from: &str, to: &str| {
                    format!(
                        "UPDATE audit_records SET workspace = '{to}'
                         WHERE workspace = '{from}' AND sequence = 1"
                    )
                };
                [move_to(w, "between"), move_to(v, w), move_to("between", v)].join(";\n")
            }
            "swap two heads" => [rename("audit_heads", w, "between"), rename("audit_heads", v, w)]
                .into_iter()
                .chain([rename("audit_heads", "between", v)])
                .collect::<Vec<_>>()
                .join(";\n"),
            "renumber" => format!(
                "UPDATE audit_records SET sequence = -sequence {all};\n\
                 UPDATE audit_records SET sequence = {n} - sequence {all};\n\
                 UPDATE audit_heads SET sequence = sequence + {n} {all}"
            ),
            "move a chain" => {
                [rename("audit_records", w, "mallory"), rename("audit_heads", w, "mallory")]
                    .join(";\n")
            }
            "move a chain and what the register says of it" => [
                rename("audit_records", "acme", "mallory"),
                rename("audit_heads", "acme", "mallory"),
                "UPDATE audit_records SET about = 'mallory' WHERE about = 'acme'".to_owned(),
            ]
            .join(";\n"),
            "seal of another chain" => {
                format!("UPDATE audit_heads SET seal = {} {all}", bytes(&self.seals[other]))
            }
            edit => {
                let column = edit.strip_prefix("edit ").expect("all other kinds are edits");
                format!("UPDATE audit_records SET {column} = {} {row}", edit_of(column, rng))
            }
        }
    }
}

/// Another value for a column of a record.
fn edit_of(column: &str, rng: &mut StdRng) -> String {
    let c = column;
    let zeros = bytes(&[0; 32]);
    let mut values: Vec<String> = match column {
        "sequence" => ["sequence + 100", "-sequence", "0", "9223372036854775807", LOWEST]
            .map(str::to_owned)
            .to_vec(),
        "at" => ["at + 1", "at - 1", "0", "at * 1000", "-at"].map(str::to_owned).to_vec(),
        "before" | "after" => vec![
            "NULL".to_owned(),
            "''".to_owned(),
            "'null'".to_owned(),
            "'{}'".to_owned(),
            format!("{c} || ' '"),
            format!("' ' || {c}"),
            format!("replace({c}, ':', ': ')"),
            format!("replace({c}, '7', '7.0')"),
            format!("replace({c}, 'testing', 'enforce')"),
        ],
        "hash" => vec![
            zeros,
            bytes(&[]),
            "(SELECT hash FROM audit_heads WHERE workspace = 'acme')".to_owned(),
        ],
        _ => vec![
            "''".to_owned(),
            "'mallory'".to_owned(),
            format!("{c} || ' '"),
            format!("{c} || 'x'"),
            format!("upper({c})"),
            format!("substr({c}, 2)"),
        ],
    };
    if is_sqlite() {
        values.extend(match column {
            "sequence" => vec!["sequence + 0.5".to_owned(), "'x'".to_owned()],
            "at" => vec!["at + 0.5".to_owned(), "'soon'".to_owned(), "X'00'".to_owned()],
            "hash" => vec!["'hash'".to_owned(), "7".to_owned()],
            _ => vec![format!("CAST({c} AS BLOB)"), "CAST(X'ff' AS TEXT)".to_owned()],
        });
    }
    values.swap_remove(rng.random_range(0..values.len()))
}

fn head_edit(column: &str, rng: &mut StdRng) -> String {
    let mut values: Vec<String> = match column {
        "sequence" => {
            let mut values =
                ["sequence + 1", "sequence - 1", "0", "-1"].map(str::to_owned).to_vec();
            values.extend([i64::MAX.to_string(), LOWEST.to_owned()]);
            values
        }
        "workspace" => ["'mallory'", "workspace || ' '", "''"].map(str::to_owned).to_vec(),
        _ => vec![bytes(&[0; 32]), bytes(&[]), bytes(&rng.random::<[u8; 32]>())],
    };
    if is_sqlite() {
        values.extend(match column {
            "sequence" => vec!["'x'".to_owned(), "1.5".to_owned()],
            "workspace" => vec!["CAST(workspace AS BLOB)".to_owned()],
            _ => vec!["'text'".to_owned(), "CAST(X'ff' AS TEXT)".to_owned()],
        });
    }
    values.swap_remove(rng.random_range(0..values.len()))
}

fn delete(chain: &str) -> String {
    format!(
        "DELETE FROM audit_records WHERE workspace = '{chain}';\n\
         DELETE FROM audit_heads WHERE workspace = '{chain}'"
    )
}

fn rename(table: &str, from: &str, to: &str) -> String {
    format!("UPDATE {table} SET workspace = '{to}' WHERE workspace = '{from}'")
}

fn set_head(chain: &str, sequence: i64, hash: &Hash) -> String {
    let hash = bytes(&hash.0);
    format!(
        "UPDATE audit_heads SET sequence = {sequence}, hash = {hash} WHERE workspace = '{chain}'"
    )
}

fn swap_places(chain: &str, n: i64, m: i64) -> String {
    let put = |from: i64, to: i64| {
        format!(
            "UPDATE audit_records SET sequence = {to}
             WHERE workspace = '{chain}' AND sequence = {from}"
        )
    };
    [put(n, -7), put(m, n), put(-7, m)].join(";\n")
}

/// The whole chain anew, with hashes that are right, and the head with it: only the seal is old.
fn rewrite(chain: &str, records: Vec<(Stored, Hash)>) -> String {
    let mut statements = vec![format!("DELETE FROM audit_records WHERE workspace = '{chain}'")];
    let (mut before, mut sequence) = (Hash::NONE, 0);
    for (record, _) in records {
        sequence += 1;
        let record = Stored { sequence, ..record };
        before = record.hash("test", &before);
        statements.push(insert(&record, &before));
    }
    statements.push(set_head(chain, sequence, &before));
    statements.join(";\n")
}

fn insert(record: &Stored, hash: &Hash) -> String {
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let json = |json: &Option<String>| json.as_deref().map_or("NULL".to_owned(), text);
    let Stored { sequence, at, .. } = record;
    format!(
        "INSERT INTO audit_records (workspace, sequence, at, who, who_id, role, from_address,
             request_id, action, about, before, after, hash)
         VALUES ({}, {sequence}, {at}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
        text(&record.workspace),
        text(&record.who),
        text(&record.who_id),
        text(&record.role),
        text(&record.from),
        text(&record.request_id),
        text(&record.action),
        text(&record.about),
        json(&record.before),
        json(&record.after),
        bytes(&hash.0)
    )
}

fn bytes(bytes: &[u8]) -> String {
    let hex = data_encoding::HEXLOWER.encode(bytes);
    if is_sqlite() { format!("X'{hex}'") } else { format!("'\\x{hex}'::bytea") }
}

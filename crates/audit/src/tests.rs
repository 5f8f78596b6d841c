//! The promises of this crate, on a real database: SQLite, or the PostgreSQL server that
//! `DMARCER_TEST_POSTGRES` names.

mod calls;
mod chain;
mod list;
mod mutation;
mod mutations;
mod once;
mod world;

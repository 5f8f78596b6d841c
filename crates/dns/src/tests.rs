//! The service against name servers that answer as real ones never should.

mod lookups;
mod name_server;
mod service;

//! The command line, and the types that it is parsed into.

xflags::xflags! {
    /// Developer commands.
    cmd xtask {
        /// Format, tidy, clippy, docs, all tests, then the end-to-end suites.
        cmd integration {
            /// Leave this part out (may be repeated).
            repeated --without part: String
            /// Run this part only, and what it needs (may be repeated).
            repeated --only part: String
            /// How often each race is run (200 if not given).
            optional --rounds count: u32
        }
        /// Rules that compiler and clippy do not know: layering, licenses, file sizes, links, …
        cmd tidy {}
        /// Measures a crate beside what it is made of; `kv` is kv-storage.
        cmd bench {
            /// What to measure: kv.
            required what: String
            /// Writes the table in docs/storage.md.
            optional --write
        }
    }
}

//! The smallest program that can stand behind `DocumentReader::program`; the tests use it.

fn main() {
    #[cfg(feature = "documents")]
    std::process::exit(mentor_engines::extract::reader::run_document_reader());
}

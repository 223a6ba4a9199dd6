//! The smallest program that can stand behind `PdfExtractor::program`; the tests use it.

fn main() {
    #[cfg(feature = "pdf")]
    std::process::exit(mentor_engines::extract::pdf::run_pdf_child());
}

//! How the embedder multiplies.

use mentor_engines::onnx::Arithmetic;
use serde::{Deserialize, Serialize};

/// How the embedder multiplies on a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EmbedArithmetic {
    /// In eight bits where the processor has AMX, else in floats.
    Auto,
    /// In floats.
    Float,
    /// In eight bits where the model stores its weights so.
    Int8,
}

impl EmbedArithmetic {
    /// What it means on this machine.
    #[must_use]
    pub fn on_this_machine(self) -> Arithmetic {
        let features = || std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        match self {
            Self::Auto if has_amx(&features()) => Arithmetic::Int8,
            Self::Auto | Self::Float => Arithmetic::Float,
            Self::Int8 => Arithmetic::Int8,
        }
    }
}

/// Whether the processor of `/proc/cpuinfo` multiplies tiles of eight-bit numbers. There it is faster by far; elsewhere it was
/// not measured, and without VNNI the runtime's kernels round sums.
fn has_amx(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "amx_int8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_are_chosen_by_the_processors_flags() {
        let cpuinfo = |flags: &str| format!("processor\t: 0\nmodel name\t: amx_int8\nflags\t\t: fpu {flags} sse\n");
        assert!(has_amx(&cpuinfo("amx_int8")));
        assert!(!has_amx(&cpuinfo("amx_bf16")));
        assert!(!has_amx(""));
    }

    #[test]
    fn a_choice_holds_on_any_machine() {
        assert_eq!(EmbedArithmetic::Float.on_this_machine(), Arithmetic::Float);
        assert_eq!(EmbedArithmetic::Int8.on_this_machine(), Arithmetic::Int8);
    }
}

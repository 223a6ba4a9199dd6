//! What the configured arithmetic of the embedder means on a processor.

use anyhow::bail;
use mentor_engines::onnx::Arithmetic;

use crate::config::EmbedArithmetic;

impl EmbedArithmetic {
    /// What it means on this machine.
    ///
    /// # Errors
    /// Eight bits on a processor where they would make other vectors.
    pub fn on_this_machine(self) -> anyhow::Result<Arithmetic> {
        self.on(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
    }

    /// What it means on the processor of `/proc/cpuinfo`.
    fn on(self, cpuinfo: &str) -> anyhow::Result<Arithmetic> {
        match self {
            Self::Auto if is_faster_in_int8(cpuinfo) => Ok(Arithmetic::Int8),
            Self::Auto | Self::Float => Ok(Arithmetic::Float),
            Self::Int8 if rounds_sums(cpuinfo) => {
                bail!(
                    "embed_arithmetic = \"int8\" needs a processor with AMX, AVX-512 VNNI or AVX-VNNI: others round sums"
                )
            }
            Self::Int8 => Ok(Arithmetic::Int8),
        }
    }
}

/// Whether eight bits were measured to be faster on such processors, see `docs/adr/0015-embedding-in-eight-bits-twice.md`.
fn is_faster_in_int8(cpuinfo: &str) -> bool {
    flags(cpuinfo).is_some_and(|mut flags| flags.any(|flag| ["amx_int8", "avx512_vnni"].contains(&flag)))
}

/// Whether the runtime's kernels round sums of eight-bit products: those for x86 without VNNI do.
fn rounds_sums(cpuinfo: &str) -> bool {
    flags(cpuinfo).is_some_and(|mut flags| !flags.any(|flag| ["amx_int8", "avx512_vnni", "avx_vnni"].contains(&flag)))
}

/// What an x86 processor can do; `None` for another one.
fn flags(cpuinfo: &str) -> Option<impl Iterator<Item = &str>> {
    cpuinfo.lines().find(|line| line.starts_with("flags")).map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_are_chosen_by_the_processors_flags() {
        let cpuinfo = |flags: &str| format!("processor\t: 0\nmodel name\t: amx_int8\nflags\t\t: fpu {flags} sse\n");
        for (flags, chosen) in [("amx_int8", true), ("avx512_vnni", true), ("amx_bf16 avx_vnni", false)] {
            assert_eq!(is_faster_in_int8(&cpuinfo(flags)), chosen, "{flags}");
        }
        assert!(!is_faster_in_int8(""));
    }

    #[test]
    fn a_choice_holds_where_it_gives_the_same_vectors() {
        let chosen =
            |arithmetic: EmbedArithmetic, cpuinfo: &str| arithmetic.on(cpuinfo).map_err(|error| error.to_string());
        for cpuinfo in ["flags : avx2", "flags : avx_vnni", "flags : avx512_vnni amx_int8", "Features : asimddp", ""] {
            assert_eq!(chosen(EmbedArithmetic::Float, cpuinfo), Ok(Arithmetic::Float));
            let int8 = chosen(EmbedArithmetic::Int8, cpuinfo);
            match cpuinfo {
                "flags : avx2" => assert!(int8.unwrap_err().contains("needs a processor with AMX")),
                _ => assert_eq!(int8, Ok(Arithmetic::Int8), "{cpuinfo}"),
            }
        }
    }
}

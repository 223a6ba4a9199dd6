//! Which instructions this build needs.

/// Names of the CPU features that this build uses and this processor lacks; empty where all is well.
///
/// The processor itself is asked: `is_x86_feature_detected!` answers at compile time for features that the build enables,
/// and would always say yes.
#[must_use]
#[cfg(target_arch = "x86_64")]
pub fn missing_cpu_features() -> Vec<&'static str> {
    let (basic, extended) = cpuid();
    let needed = [
        ("FMA", basic & (1 << 12)),
        ("AVX", basic & (1 << 28)),
        ("F16C", basic & (1 << 29)),
        ("BMI1", extended & (1 << 3)),
        ("AVX2", extended & (1 << 5)),
        ("BMI2", extended & (1 << 8)),
    ];
    needed.into_iter().filter(|&(_, present)| present == 0).map(|(name, _)| name).collect()
}

/// Names of the CPU features that this build uses and this processor lacks: none beyond the architecture's own.
#[must_use]
#[cfg(not(target_arch = "x86_64"))]
pub fn missing_cpu_features() -> Vec<&'static str> {
    Vec::new()
}

/// Register ECX of leaf 1 and EBX of leaf 7, where the features above stand (Intel SDM, volume 2A, CPUID).
#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe, reason = "the intrinsics are safe functions in newer compilers only")]
fn cpuid() -> (u32, u32) {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // SAFETY: every x86-64 processor has the CPUID instruction, and a leaf is read only if leaf 0 says that it exists.
    unsafe {
        let leaves = __cpuid(0).eax;
        let extended = if leaves >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
        (__cpuid(1).ecx, extended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_runs_these_tests_lacks_nothing() {
        assert_eq!(missing_cpu_features(), Vec::<&str>::new());
    }
}

//! Where engines run.

/// What the user allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// A CUDA GPU when the build, the libraries and the machine have one, else the CPU.
    #[default]
    Auto,
    /// The CPU, whatever else is there.
    Cpu,
    /// A CUDA GPU, or an error at load.
    Cuda,
}

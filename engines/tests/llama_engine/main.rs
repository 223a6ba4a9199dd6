//! The llama.cpp engine with a real model: SmolLM2-135M-Instruct, from the folder that `MENTOR_MODELS_DIR` names.

#![cfg(feature = "llama")]

mod answers;
mod loading;
mod reuse;
mod sampling;
mod support;
mod together;

//! Cores that don't fall asleep while they have nothing to do.
//!
//! A core that sleeps must be woken by an interrupt, which whoever sends to it pays for; in a virtual machine each takes a
//! way through the hypervisor, at a price that changes with its other guests. Whoever leaves more of a core idle then looks
//! the worse, and no two runs agree. A request for no latency at all makes the kernel's idle loop poll instead, which costs
//! no process anything.

use std::{
    fs::{File, OpenOptions},
    io::Write,
};

/// The kernel takes requests here (Documentation/power/pm_qos_interface.rst), a number of µs in the machine's order.
const DEVICE: &str = "/dev/cpu_dma_latency";

/// The request, which holds until this is dropped.
#[derive(Debug)]
pub struct Awake(Option<File>);

impl Awake {
    /// Asks for it; takes root, or a friendly udev rule.
    #[must_use]
    pub fn ask() -> Awake {
        let asked = OpenOptions::new().write(true).open(DEVICE);
        Awake(asked.ok().filter(|device| {
            let mut device = device;
            device.write_all(&0_i32.to_ne_bytes()).is_ok()
        }))
    }

    /// What is to be said of it below the figures.
    #[must_use]
    pub fn told(&self) -> &'static str {
        match self.0 {
            Some(_) => "idle cores polled",
            None => "idle cores slept",
        }
    }
}

//! Commands on DPDK's telemetry socket (`dpdk-telemetry.py`): a closure answers each, in telemetry's own thread. Never unwinds into
//! DPDK, and never calls a closure whose [`TelemetryCommand`] is gone.

use core::ffi::{CStr, c_char, c_int};
use core::fmt;
use core::ptr::NonNull;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{PoisonError, RwLock};

use dpdk_sys as sys;
use thiserror::Error;

use super::eal::Eal;
use super::error::Errno;

/// A dictionary of a reply, in order. A name is made of ASCII letters, digits, `_` and `/`.
///
/// DPDK takes at most 256 entries, shows no dictionary in a dictionary in a dictionary (nor, in 22.11, a list of dictionaries in one),
/// and cuts off replies longer than 16 KiB of JSON: the rest is for the client to ask for.
pub type Dict = Vec<(String, Value)>;

/// What a reply is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A text; what is longer than 127 bytes is cut, control characters become `?`.
    Text(String),
    /// A dictionary of numbers and texts.
    Dict(Dict),
}

/// Why a command cannot be offered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TelemetryError {
    /// Name or help has a NUL byte in it.
    #[error("the telemetry command `{}` has a NUL byte in it or in its help", .0.escape_default())]
    Nul(String),
    /// DPDK refused: a name without `/`, a text that is too long, or too many commands.
    #[error("DPDK takes no telemetry command {command}: {errno}")]
    Refused {
        /// Its name.
        command: String,
        /// Why.
        errno: Errno,
    },
}

/// Tells telemetry that there is no reply: the parameters mean nothing, or nobody answers.
const REFUSED: c_int = -libc::EINVAL;

/// Answers a command. Its argument is what stands behind the comma, empty if nothing does; `None` when that means nothing.
type Answer = dyn Fn(&str) -> Option<Dict> + Send + Sync;

/// A command that DPDK knows, which it never forgets, and who answers it.
struct Slot {
    command: CString,
    answer: Option<Box<Answer>>,
}

/// Read while an answer is made, so that writing waits for it.
static SLOTS: RwLock<Vec<Slot>> = RwLock::new(Vec::new());

/// A command that is answered until this is dropped; then, once an answer that is being made is done, it says nothing any more.
#[must_use = "the command is answered until this is dropped"]
pub struct TelemetryCommand(CString);

impl fmt::Debug for TelemetryCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TelemetryCommand").field(&self.0).finish()
    }
}

impl Drop for TelemetryCommand {
    fn drop(&mut self) {
        set_answer(&self.0, None);
    }
}

impl Eal {
    /// Lets `answer` answer a command, such as `/bypassd/stats` (`rte_telemetry_register_cmd`). The closure runs in a thread of
    /// telemetry's, one or several at a time; it must not drop the command.
    ///
    /// With `--no-telemetry` nobody ever asks.
    ///
    /// # Errors
    /// [`TelemetryError`].
    #[cold]
    pub fn offer_telemetry(
        &self,
        command: &str,
        help: &str,
        answer: impl Fn(&str) -> Option<Dict> + Send + Sync + 'static,
    ) -> Result<TelemetryCommand, TelemetryError> {
        let nul = |_| TelemetryError::Nul(command.to_owned());
        let c_command = CString::new(command).map_err(nul)?;
        let c_help = CString::new(help).map_err(nul)?;
        let is_known = set_answer(&c_command, Some(Box::new(answer)));
        let offered = TelemetryCommand(c_command.clone());
        if !is_known {
            // SAFETY: EAL is up; two C strings that are copied, and a function that stays.
            let returned =
                unsafe { sys::rte_telemetry_register_cmd(c_command.as_ptr(), Some(on_command), c_help.as_ptr()) };
            if let Err(errno) = Errno::check(returned) {
                write_slots().retain(|slot| slot.command != c_command);
                return Err(TelemetryError::Refused { command: command.to_owned(), errno });
            }
        }
        Ok(offered)
    }
}

/// Slots are changed in one step each, so that a panic leaves them whole.
fn write_slots() -> std::sync::RwLockWriteGuard<'static, Vec<Slot>> {
    SLOTS.write().unwrap_or_else(PoisonError::into_inner)
}

/// Exchanges who answers a command; whether DPDK knew it before.
fn set_answer(command: &CStr, answer: Option<Box<Answer>>) -> bool {
    let mut slots = write_slots();
    let known = slots.iter_mut().find(|slot| slot.command.as_c_str() == command);
    let is_known = known.is_some();
    let before = match known {
        Some(slot) => core::mem::replace(&mut slot.answer, answer),
        None => {
            if answer.is_some() {
                slots.push(Slot { command: command.to_owned(), answer });
            }
            None
        }
    };
    // Whatever the closure owned is dropped here, not in a thread of telemetry's, and without the lock.
    drop(slots);
    drop(before);
    is_known
}

/// What DPDK calls for all of our commands. The reply is already begun by DPDK, empty.
extern "C" fn on_command(command: *const c_char, parameters: *const c_char, reply: *mut sys::rte_tel_data) -> c_int {
    let Some(reply) = NonNull::new(reply) else { return REFUSED };
    // SAFETY: a C string or null that outlives the call, as the telemetry callback's contract says.
    let command = unsafe { text(command) };
    // SAFETY: as above.
    let parameters = unsafe { text(parameters) };
    // A panic in a closure must not unwind into C; what it shares with others is theirs to keep whole.
    let made = catch_unwind(AssertUnwindSafe(|| {
        let slots = SLOTS.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.iter().find(|slot| slot.command.as_c_str() == command)?;
        slot.answer.as_ref()?(&parameters.to_string_lossy())
    }));
    match made {
        Ok(Some(dict)) => match fill(reply, &dict) {
            Ok(()) => 0,
            Err(returned) => returned,
        },
        Ok(None) | Err(_) => REFUSED,
    }
}

/// # Safety
/// Null, or a C string that lives for `'a`.
unsafe fn text<'a>(text: *const c_char) -> &'a CStr {
    if text.is_null() {
        return c"";
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(text) }
}

fn check(returned: c_int) -> Result<(), c_int> {
    if returned < 0 { Err(returned) } else { Ok(()) }
}

/// Writes a dictionary into an empty reply, or part of one.
fn fill(data: NonNull<sys::rte_tel_data>, dict: &Dict) -> Result<(), c_int> {
    // SAFETY: DPDK's own, empty, and nobody else's meanwhile.
    check(unsafe { sys::bp_tel_begin_dict(data.as_ptr()) })?;
    for (name, value) in dict {
        let name = CString::new(name.as_str()).map_err(|_| REFUSED)?;
        match value {
            // SAFETY: a dictionary that was begun; a C string that is copied.
            Value::Number(number) => check(unsafe { sys::bp_tel_dict_number(data.as_ptr(), name.as_ptr(), *number) })?,
            Value::Text(text) => {
                let text = CString::new(shown(text)).map_err(|_| REFUSED)?;
                // SAFETY: a dictionary that was begun; two C strings that are copied.
                check(unsafe { sys::bp_tel_dict_text(data.as_ptr(), name.as_ptr(), text.as_ptr()) })?;
            }
            Value::Dict(inner) => {
                let part = Part::new(|part| fill(part, inner))?;
                // SAFETY: a dictionary that was begun, a C string that is copied, a whole part.
                part.give(|part| unsafe { sys::bp_tel_dict_part(data.as_ptr(), name.as_ptr(), part) })?;
            }
        }
    }
    Ok(())
}

/// A part of a reply that is still ours; freed unless it is given away.
struct Part(NonNull<sys::rte_tel_data>);

impl Part {
    fn new(fill: impl FnOnce(NonNull<sys::rte_tel_data>) -> Result<(), c_int>) -> Result<Self, c_int> {
        // SAFETY: no precondition.
        let part = Self(NonNull::new(unsafe { sys::bp_tel_new() }).ok_or(-libc::ENOMEM)?);
        fill(part.0)?;
        Ok(part)
    }

    /// Adds it to a whole, which owns it from then on.
    fn give(self, add: impl FnOnce(*mut sys::rte_tel_data) -> c_int) -> Result<(), c_int> {
        check(add(self.0.as_ptr()))?;
        core::mem::forget(self);
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` and given to nobody.
        unsafe { sys::bp_tel_free(self.0.as_ptr()) };
    }
}

/// The text as a reply takes it: cut at its longest, without control characters, which DPDK would not escape.
fn shown(text: &str) -> String {
    const LONGEST: usize = sys::BP_TEL_TEXT_LEN as usize - 1;
    let mut shown = String::with_capacity(text.len().min(LONGEST));
    for c in text.chars().map(|c| if c.is_control() { '?' } else { c }) {
        if shown.len() + c.len_utf8() > LONGEST {
            break;
        }
        shown.push(c);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters_and_carry_no_control_characters() {
        assert_eq!(shown("a\0b\u{1b}[c\n"), "a?b?[c?");
        assert_eq!(shown(&"x".repeat(300)).len(), 127);
        assert_eq!(shown(&"é".repeat(100)).len(), 126);
    }

    #[test]
    fn a_command_without_an_answer_is_refused() {
        let mut nothing = 0_u8;
        let reply = (&raw mut nothing).cast();
        assert_eq!(on_command(c"/nobody/knows".as_ptr(), core::ptr::null(), reply), REFUSED);
        assert_eq!(on_command(c"/nobody/knows".as_ptr(), core::ptr::null(), core::ptr::null_mut()), REFUSED);
    }
}

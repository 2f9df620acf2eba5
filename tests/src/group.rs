//! A program together with whatever it starts.

use std::process::{Command as Immediate, Stdio};

use anyhow::Context as _;
use tokio::process::{Child, Command};

/// A running program. When dropped, it is killed, and with it everything that it started.
///
/// A program that is killed alone leaves its children behind, and some of them go on without it:
/// `mcp-remote` says goodbye to its server first, for as long as that takes.
#[derive(Debug)]
pub struct Group {
    leader: Child,
    id: u32,
}

impl Group {
    /// Starts `command` in a process group of its own.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let leader = command.process_group(0).kill_on_drop(true).spawn().with_context(|| {
            format!("cannot start {}", command.as_std().get_program().display())
        })?;
        let id = leader.id().context("it has ended already")?;
        Ok(Self { leader, id })
    }

    /// The program that was started, for its streams.
    pub fn leader(&mut self) -> &mut Child {
        &mut self.leader
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // All of them may have ended: then there is nothing to kill, and nothing to say.
        let _ = Immediate::new("kill")
            .args(["-KILL", "--", &format!("-{}", self.id)])
            .stderr(Stdio::null())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncBufReadExt as _, BufReader},
        time::timeout,
    };

    use super::*;
    use crate::PATIENCE;

    #[tokio::test]
    async fn what_a_program_started_ends_with_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo started; wait"]).stdout(Stdio::piped());
        let mut group = Group::start(&mut command).unwrap();
        let mut said = BufReader::new(group.leader().stdout.take().unwrap()).lines();
        assert_eq!(said.next_line().await.unwrap().as_deref(), Some("started"));

        drop(group);
        // Both hold the other end of the pipe.
        let end = timeout(PATIENCE, said.next_line()).await.expect("something goes on");
        assert_eq!(end.unwrap(), None);
    }
}

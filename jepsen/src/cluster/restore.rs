//! A cluster that begins anew from a backup.

use super::Cluster;
use crate::host;
use std::path::Path;

impl Cluster {
    /// Ends all members and founds a new cluster of as many from a backup, as the handbook says: each in
    /// a new directory, under the name and at the address of a member of before. It does not run yet.
    ///
    /// # Errors
    /// What `oarlock snapshot restore` says.
    pub fn restore(&mut self, backup: &Path) -> Result<(), String> {
        let members = self.members();
        let peers: Vec<_> = members
            .iter()
            .map(|number| (self.nodes[*number].name.clone(), self.nodes[*number].advertised_peer()))
            .collect();
        let all: Vec<String> =
            peers.iter().map(|(name, address)| format!("{name}=http://{address}")).collect();
        for number in members {
            let node = &mut self.nodes[number];
            node.kill();
            node.data = self.plan.directory.join(format!("restored-{}", node.name));
            (node.peers, node.joins) = (peers.clone(), false);
            let mut command = host::command(&self.plan.programs.oarlock);
            command.args(["snapshot", "restore"]).arg(backup).arg("--data-dir").arg(&node.data);
            command.args(["--name", &node.name, "--initial-cluster", &all.join(",")]);
            command.args(["--initial-cluster-token", "restored"]);
            let output = command.output().map_err(|error| format!("oarlock cannot be run: {error}"))?;
            if !output.status.success() {
                return Err(format!("{}: {}", node.name, String::from_utf8_lossy(&output.stderr)));
            }
        }
        Ok(())
    }
}

package main

const (
	noDaemon  = "no daemon answers"
	badUsage  = "wrong usage or config"
	badConfig = "wrong usage or config; what is wrong, in which line, and what is allowed is said"
)

// commands are all that a user may call, in the order in which they are listed.
func commands() []*command {
	return []*command{
		{name: "run", does: "the daemon: raft, lease endpoint, relay, fenced mount; then APP, if given after --",
			about: `It first makes fence.mount an empty read-only directory, starts litefs.command,
if set, waits for LiteFS's mount, lays the fenced mount over it, then starts APP.
HUP, USR1 and USR2 are passed on to APP. It ends with APP's exit code, or on
SIGTERM: the gate is shut, writes in flight end, leadership is handed on.
As process 1 of a container it takes ended orphans away, as an init does.`,
			words: "[-- APP ARGS...]", takes: -1, run: runMain,
			exits: map[int]string{exitFailed: "failed, as by a disk that fails; else APP's own code", exitUsage: badConfig,
				exitNotReady: "this machine, the data directory or LiteFS's mount is not ready"}},
		{name: "witness", does: "a voter without LiteFS and mount: the third vote of a two-node cluster",
			about: "Its config has no sections fence, litefs and policy.",
			takes: -1, run: witnessMain,
			exits: map[int]string{exitFailed: "failed, as by a disk that fails", exitUsage: badConfig, exitNotReady: "a port or the data directory is not ready"}},
		{name: "status", does: "this node and the cluster as it sees it",
			about: `With -watch again every second, until Ctrl-C: in place on a terminal, elsewhere
one block after the other. A daemon that is lost is said, and waited for.`,
			run:   statusMain,
			exits: map[int]string{exitUsage: badUsage, exitNotReady: noDaemon + "; never with -watch"}},
		{name: "fence", does: "refuse writes on this node until unfence; a leader hands leadership on",
			about: "The fence is kept across restarts. Reads go on.",
			run:   fenceMain,
			exits: map[int]string{exitFailed: "failed; the message says whether the fence holds", exitUsage: badUsage, exitNotReady: noDaemon}},
		{name: "unfence", does: "lift a manual fence",
			about: "It opens no gate by itself: writes pass once the quorum vouches for this node.",
			run:   unfenceMain,
			exits: map[int]string{exitFailed: "failed", exitUsage: badUsage, exitNotReady: noDaemon}},
		{name: "handoff", does: "make another node primary, without a loss, or call it off",
			about: `NODE is a data node of the cluster; without it the one that is best suited. Writes
pause until it has every transaction. Whatever goes wrong before that leaves
this primary as it was.`,
			words: "[NODE]", takes: 1, node: 1, run: handoffMain,
			exits: map[int]string{exitFailed: "failed", exitUsage: badUsage, exitNotReady: "called off: not in time; or " + noDaemon, exitUnsafe: "refused, nothing has changed"}},
		{name: "peers", does: "the members, and their change: peers [add NODE ADDR | remove NODE]",
			about: `Without words the members are listed. A node that came back with an empty data
directory is replaced by adding it again.`,
			words: "[add NODE ADDR | remove NODE]", takes: 3, first: []string{"add", "remove"}, node: 2, run: peersMain,
			exits: map[int]string{exitFailed: "failed; what was committed is said", exitUsage: badUsage, exitNotReady: noDaemon, exitUnsafe: "refused, nothing has changed"}},
		{name: "wait", does: "wait until this node is ready, writable or fenced",
			about: `For scripts and entry points. ready: mounted, and a majority is known; writable:
writes pass; fenced: mounted, and writes are refused.`,
			run:   waitMain,
			exits: map[int]string{exitUsage: badUsage, exitNotReady: "not so in time; the last state is said"}},
		{name: "check", does: "the doctor: what is wrong with this node, one line each, with its mend",
			about: `It works beside a running daemon and before the first start, changes nothing, and
prints nothing where nothing is wrong (-v shows what it looked at). A finding is
an error (it does not work, or does not protect) or a warning.`,
			run:   checkMain,
			exits: map[int]string{exitFailed: "at least one error was found; warnings alone are 0", exitUsage: "wrong usage, or there is no config"}},
		{name: "init", does: "write a commented litefence.yml and the litefs.yml that fits it, for one node",
			about: "It never overwrites. Give every node the same -peers.",
			run:   initMain,
			exits: map[int]string{exitFailed: "failed; a file that is there already stays", exitUsage: "wrong usage, or values that no config may have"}},
		{name: "ca", does: "certificates for the mutual TLS between nodes: ca init, ca issue NODE", subs: []*command{
			{name: "ca init", does: "make a CA: its certificate goes to every node, its key to none",
				run:   caInit,
				exits: map[int]string{exitFailed: "failed; existing files are not overwritten", exitUsage: badUsage}},
			{name: "ca issue", does: "issue a node's certificate",
				about: "NODE is its name in quorum.peers.",
				words: "NODE", takes: 1, node: 1, run: caIssue,
				exits: map[int]string{exitFailed: "failed; existing files are not overwritten", exitUsage: badUsage}},
		}},
		{name: "accept-loss", does: "let this node become primary although nobody in step with the last one can",
			about: "It says first what would be lost, and asks.",
			run:   acceptLossMain,
			exits: map[int]string{exitFailed: "failed, or not agreed to", exitUsage: badUsage, exitNotReady: "not yet possible; what it waits for is said; or " + noDaemon, exitUnsafe: "refused: it is not needed"}},
		{name: "lost", does: "transactions that were set aside or are known to be lost",
			about: "It reads files, and needs no running daemon.",
			words: "[list | show ID]", takes: 2, first: []string{"list", "show"}, run: lostMain,
			exits: map[int]string{exitFailed: "no such entry, or entries that cannot be read", exitUsage: badUsage}},
		{name: "demo", does: "three nodes with real LiteFS on this machine, a silent partition, the figures",
			about: "It needs root, and leaves nothing behind.",
			run:   demoMain,
			exits: map[int]string{exitFailed: "failed, or interrupted", exitUsage: badUsage, exitNotReady: "this machine cannot run it; what is missing is said", exitBroken: "a promise was seen broken"}},
		{name: "completion", does: "a script that completes this program's command lines: completion bash|zsh|fish",
			about: `bash:  litefence completion bash > /etc/bash_completion.d/litefence
zsh:   litefence completion zsh > "${fpath[1]}/_litefence"
fish:  litefence completion fish > ~/.config/fish/completions/litefence.fish`,
			words: "bash|zsh|fish", takes: 1, first: shells, run: completionMain,
			exits: map[int]string{exitUsage: "wrong usage"}},
		{name: "version", does: "version, commit, Go, module versions",
			run:   versionMain,
			exits: map[int]string{exitUsage: "wrong usage"}},
	}
}

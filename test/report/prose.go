package report

// What both reports say in the same words.
const (
	whatWasDone = "In each round a cluster of real LiteFS runs on one machine, every node in a network of its own. On each node one application writes all the time and another now and then: each is " +
		"one connection that inserts rows, sets registers, moves money and appends to lists, and a third reads everything in one transaction, again and again. " +
		"Meanwhile things are broken and mended: the network between nodes, processes, disks. Every operation is written down with its times and its answer. " +
		"In the end all is mended, the nodes must come back by themselves, and what was written down is held against what every node then has."

	lostMeans = "LiteFS replicates after the commit. What a primary has acknowledged and nobody else has when it goes is lost, with litefence as without. " +
		"These are all of them, counted; any that had to be kept is a broken promise as well. " +
		"With quorum.confirm: replicated every one had to be kept."

	lostWhere = "A loss is put down to the last fault that hit the primary which had acknowledged the write, before another node took over."

	modeMeans = "What a commit waits for, as quorum.confirm has it: lease, nothing; quorum, an answer of a majority; replicated, copies on so many nodes that none of it is lost with a minority. " +
		"Commit: from the COMMIT of an acknowledged write to its answer, in seconds; that of a write whose outcome stayed unknown is not in it."

	outageMeans = "Outage: the longest time without an acknowledged write on any node, while the fault lasted and after it. Fence: from a cut or stop of the primary to the last write that it acknowledged, " +
		"where another node took over; 0 = none since. Times are seconds, as the applications saw them. p99 of fewer than 100 is the worst."

	controlMeans = "One rule of litefence is taken out, and the same faults and checks run again. A check that then sees nothing is blind, and its silence above proves nothing."

	comparisonMeans = "The same faults and checks on something else. They do not have to pass, nor to fail."
)

// limits is what no such run can show.
var limits = []string{
	"That something never happens. It shows what did not happen in these rounds.",
	"Machines that lose power together with their disk's cache: processes are killed, stopped and robbed of their data, the machine stays up.",
	"Clocks that run at different rates, or that stop with their guest: all nodes share the machine's clock.",
	"A network that is slow in other ways than those in the table of faults, nodes far from each other, or days of running: a round lasts seconds to minutes.",
	"Other versions than those named here, larger databases, many connections on a node, or applications that open the database past the fenced mount.",
	"What lies between two answers: an operation whose outcome the application does not know may have happened or not, and the checks accuse only where neither explains what was seen.",
}

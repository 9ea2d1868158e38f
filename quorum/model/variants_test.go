package model

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// searchLimit bounds how far a variant is searched for.
const searchLimit = 1_000_000

// A variant is a set of rules that the checker must find a violation without.
type variant struct {
	world World
	off   Rules
}

func (v variant) name() string { return v.off.String() }

// variants are all rules, each off by itself where that is enough. Where a rule
// is a second line only, the first line is off too, and secondLines has what
// holds without it.
func variants() (all []variant) {
	alone := map[Rule]bool{WaitMono: true, WaitsPreviousD: true, OwnTerm: true, EmptySilentVote: true, EmptySilentAppend: true, AnswerID: true, CreditVoters: true}
	for r := range numRules {
		if alone[r] {
			continue
		}
		v := variant{Lease, Without(r)}
		switch {
		case r >= CopiesNamed && r < CopiesHeld:
			v = variant{Copied, Without(r, LossOnly)}
		case r == Confirm:
			v.world = Frozen
		case r >= CopiesHeld:
			v.world = Copied
		case r > Confirm:
			v.world = Data
		}
		all = append(all, v)
	}
	for _, rules := range [][]Rule{
		{WaitBeforeOpen, WaitsPreviousD},
		{DeadAtVote, NoCredit},
		{DeadAtVote, Prompt},
		{DeadAtVote, OwnTerm, Prompt, NoCredit},
		{EmptySilentVote, AnswerID},
		{EmptySilentAppend, AnswerID},
	} {
		all = append(all, variant{Lease, Without(rules...)})
	}
	return all
}

// secondLines are rules that another one stands behind: nothing is found
// without them alone.
var secondLines = []struct {
	off Rules
	why string
}{
	{Without(WaitsPreviousD), "matters only where the Open comes before the wait"},
	{Without(WaitMono), "not shown to matter: CLOCK_BOOTTIME counts the time in which the waiting machine slept, and the old lease ran then too"},
	{Without(OwnTerm), "an answer of another term kills the lease (DeadAtVote) before it is counted"},
	{Without(DeadAtVote, Prompt, NoCredit), "the whole wait covers it where raft's goroutines end in time"},
	{Without(EmptySilentVote), "such a vote comes under an ID that is in no configuration (AnswerID)"},
	{Without(EmptySilentAppend), "likewise"},
	{Without(AnswerID), "an empty node is silent until a configuration has its new ID"},
	{Without(CreditVoters), "not shown to matter: whoever knows the new voters heard of them from a leader, and that age counts (CreditOwnAge)"},
}

// finding is where a variant breaks: the seed of the schedule, which is its
// number too, for the search begins at 1.
type finding struct {
	variant
	seed  uint64
	moves int
	what  string
}

const foundFile = "testdata/found.txt"

func recorded(t *testing.T) map[string]uint64 {
	b, err := os.ReadFile(foundFile)
	require.NoError(t, err)
	seeds := map[string]uint64{}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Fields(line)
		require.Len(t, f, 2, line)
		seeds[f[0]], err = strconv.ParseUint(f[1], 10, 64)
		require.NoError(t, err)
	}
	return seeds
}

// look breaks a variant by its recorded seed, or, where search is set, by
// searching.
func (v variant) look(seed uint64, search bool) (f finding) {
	n := 1
	if search {
		seed, n = 1, searchLimit
	}
	bad, at, _ := v.world.Find(v.off, seed, n)
	if bad == nil {
		return finding{variant: v}
	}
	bad = v.world.Shrink(v.off, bad)
	return finding{v, at, len(bad) - 1, v.world.Run(v.off, bad, nil).What}
}

func update() bool { return os.Getenv("MODEL_UPDATE") != "" }

// Every rule matters: without it the checker finds a second writer or a
// replaced row, and without the rule's absence the same schedule finds nothing.
// MODEL_UPDATE=1 searches anew and writes seeds and docs/lease.md.
func TestEveryRuleMatters(t *testing.T) {
	seeds := map[string]uint64{}
	if !update() {
		seeds = recorded(t)
	}
	all := variants()
	found := make([]finding, len(all))
	start := time.Now()
	parallel(len(all), func(i int) { found[i] = all[i].look(seeds[all[i].name()], update()) })
	var record strings.Builder
	for i, f := range found {
		if f.what == "" {
			t.Errorf("without %s nothing is found by seed %d: the rule does not matter, or the schedules have changed (MODEL_UPDATE=1 searches anew)", all[i].name(), seeds[all[i].name()])
			continue
		}
		s := NewSchedule(f.seed, f.world.Length())
		require.Nil(t, f.world.Run(0, s, nil), "%s: the same schedule under the rules as they stand", f.name())
		require.Regexp(t, "^(second writer|replaced row|lost commit|no successor): ", f.what)
		fmt.Fprintf(&record, "%s %d\n", f.name(), f.seed)
	}
	t.Logf("%d variants, %s", len(all), time.Since(start).Round(time.Millisecond))
	if update() {
		require.NoError(t, os.WriteFile(foundFile, []byte(record.String()), 0o600))
	}
	if !t.Failed() {
		checkDoc(t, found)
	}
}

// A second line alone may fall.
func TestSecondLines(t *testing.T) {
	for _, l := range secondLines {
		broken := sweep(Lease, l.off, 1, 3000*max(1, schedules()/perWorld))
		require.Empty(t, broken, l.off.String())
	}
}

// parallel runs f for 0..n-1 on all cores.
func parallel(n int, f func(int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				f(i)
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

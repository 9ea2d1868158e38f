package model

import (
	"fmt"
	"testing"
	"time"
)

func TestScratch(t *testing.T) {
	for _, w := range []World{Lease, Frozen, Data} {
		start := time.Now()
		s, at, tried := w.Find(Without(), 1, 500000)
		fmt.Println(w, "standing:", s != nil, at, tried, time.Since(start))
		if s != nil {
			s = w.Shrink(0, s)
			fmt.Println(w.Transcript(0, s))
			return
		}
	}
	try := func(w World, rs ...Rule) {
		start := time.Now()
		s, at, tried := w.Find(Without(rs...), 1, 300000)
		if s != nil {
			s = w.Shrink(Without(rs...), s)
		}
		n := ""
		for _, r := range rs {
			n += names[r] + " "
		}
		fmt.Println("rule", n, s != nil, at, tried, len(s), time.Since(start))
	}
	for r := Wait; r <= CreditVoters; r++ {
		try(Lease, r)
	}
	try(Frozen, Confirm)
	try(Lease, WaitBeforeOpen, WaitsPreviousD)
	try(Lease, OwnTerm, DeadAtVote)
	try(Lease, EmptySilentVote, NewID)
	try(Lease, EmptySilentVote, AnswerID)
	try(Lease, EmptySilentAppend, NewID)
	try(Lease, EmptySilentAppend, AnswerID)
	try(Lease, CreditVoters, CreditOwnAge)
}

package model

import (
	"fmt"
	"testing"
	"time"
)

func TestScratch(t *testing.T) {
	for _, w := range []World{Lease, Frozen} {
		start := time.Now()
		s, at, tried := w.Find(0, 1, 1000000)
		fmt.Println(w, "standing:", s != nil, at, tried, time.Since(start))
		if s != nil {
			s = w.Shrink(0, s)
			fmt.Println(w.Transcript(0, s))
		}
	}
	for r := Wait; r <= CreditVoters; r++ {
		start := time.Now()
		s, at, tried := Lease.Find(Without(r), 1, 200000)
		if s != nil {
			s = Lease.Shrink(Without(r), s)
		}
		fmt.Println("rule", r, s != nil, at, tried, len(s), time.Since(start))
	}
	s, at, tried := Frozen.Find(Without(Confirm), 1, 200000)
	fmt.Println("confirm", s != nil, at, tried, len(s))
}

package model

import (
	"fmt"
	"testing"
	"time"
)

func TestScratch(t *testing.T) {
	for _, w := range []World{Data} {
		start := time.Now()
		s, at, tried := w.Find(Without(), 1, 300000)
		fmt.Println(w, "standing:", s != nil, at, tried, time.Since(start))
		if s != nil {
			s = w.Shrink(0, s)
			fmt.Println(w.Transcript(0, s))
			return
		}
	}
	for r := MarkerPerOpen; r < numRules; r++ {
		start := time.Now()
		s, at, tried := Data.Find(Without(r), 1, 300000)
		if s != nil {
			s = Data.Shrink(Without(r), s)
		}
		fmt.Println("rule", names[r], s != nil, at, tried, len(s), time.Since(start))
	}
}

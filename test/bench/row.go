package main

import (
	"fmt"
	"slices"
)

// row is what was measured of a workload, by the variants' names.
type row struct {
	workload
	Rates  map[string][]float64 // operations a second, one of each round that it came through
	Ratios map[string][]float64 // to the baseline of the same round
	Median map[string]float64   // of Ratios
	Fails  map[string][]string  // what its application was told
}

func newRow(w workload) *row {
	return &row{
		workload: w, Rates: map[string][]float64{}, Ratios: map[string][]float64{},
		Median: map[string]float64{}, Fails: map[string][]string{},
	}
}

// add takes the rates of one round; 0 is a failure.
func (r *row) add(rates map[string]float64) {
	for name, rate := range rates {
		if rate == 0 {
			continue
		}
		r.Rates[name] = append(r.Rates[name], rate)
		if base := rates[baseline]; base > 0 {
			r.Ratios[name] = append(r.Ratios[name], rate/base)
			r.Median[name] = median(r.Ratios[name])
		}
	}
}

// median is 0 where there is nothing.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// cell is one ratio, and why it rests on fewer rounds.
func (r *row) cell(name string) string {
	fails := ""
	if f := r.Fails[name]; len(f) > 0 {
		fails = fmt.Sprintf("fails (%s) %dx ", f[0], len(f))
	}
	v := r.Ratios[name]
	switch {
	case len(v) > 0:
		return fails + spread(v)
	case fails != "":
		return fails
	}
	return "-"
}

func (r *row) verdict() string {
	switch {
	case r.Target == 0:
		return "-\t"
	case r.Median["fenced"] < r.Target:
		return fmt.Sprintf("%.2f\tBELOW", r.Target)
	}
	return fmt.Sprintf("%.2f\tok", r.Target)
}

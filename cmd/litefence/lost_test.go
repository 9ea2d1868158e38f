package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

var lostEntry = quorum.Lost{ID: "e1", Kind: "known-lost", Primary: "n2", Databases: []quorum.LostDB{
	{Name: "app.db", From: "n1", Had: policy.Pos{TXID: 9, Checksum: 9}, Have: policy.Pos{TXID: 7, Checksum: 7}},
}}

func TestLostCommand(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitDone, "e1  known-lost  n2"},
		{[]string{"list"}, exitDone, "e1  known-lost  n2"},
		{[]string{"show", "e1"}, exitDone, "app.db: n1 had 0000000000000009/0000000000000009"},
		{[]string{"show", "e2"}, exitFailed, `no entry "e2"`},
		{[]string{"show"}, exitUsage, "want list or show ID"},
	} {
		var w bytes.Buffer
		code, err := lostCommand(&w, []quorum.Lost{lostEntry}, c.args, false)
		require.Equal(t, c.code, code)
		if err != nil {
			w.WriteString(err.Error())
		}
		require.Contains(t, w.String(), c.want)
	}
	var w bytes.Buffer
	_, err := lostCommand(&w, nil, nil, true)
	require.NoError(t, err)
	require.Equal(t, "[]\n", w.String())
}

func TestShowPlanSaysWhatIsLost(t *testing.T) {
	p := quorum.LossPlan{Node: "n2", Primary: "n1", Positions: policy.Positions{"a": {TXID: 7, Checksum: 7}}, Lost: []quorum.LostDB{
		{Name: "a", From: "n1", Had: policy.Pos{TXID: 9}, Have: policy.Pos{TXID: 7}},
		{Name: "b", From: "n1", Had: policy.Pos{TXID: 3}},
		{Name: "c", From: "n3", Had: policy.Pos{TXID: 2, Checksum: 1}, Have: policy.Pos{TXID: 2, Checksum: 2}},
	}}
	var w bytes.Buffer
	showPlan(&w, p)
	for _, want := range []string{"a: transactions 8 to 9 of n1", "b, all of it", "c: transaction 2 of n3, which differs"} {
		require.Contains(t, w.String(), want)
	}
	require.True(t, agreed(strings.NewReader("n2\n"), &w, "n2"))
	require.False(t, agreed(strings.NewReader("y\n"), &w, "n2"))
}

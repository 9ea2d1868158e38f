package main

// The scripts look the command up, then go by tables that are made of the
// commands and their flags. Names of nodes come from the program itself.

const bashCompletion = `# bash completion for litefence; made by "litefence completion bash".
_litefence() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd=${COMP_WORDS[1]}
    local at=2 word=1 node=0 first= flags= files=" " dirs=" " words=" " where= i w
    COMPREPLY=()
    # readline splits -flag=value at the sign.
    if [[ $cur == "=" ]]; then cur=
    elif [[ $prev == "=" && COMP_CWORD -gt 2 ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W {{- " " }}"{{ range . }}{{ .Name }} {{ end }}" -- "$cur"))
        return
    fi
    case $cmd in
{{- range . }}{{ if .Subs }}
    {{ .Name }})
        if (( COMP_CWORD == 2 )); then
            COMPREPLY=($(compgen -W "{{ range .Subs }}{{ last .Name }} {{ end }}" -- "$cur"))
            return
        fi
        cmd="$cmd ${COMP_WORDS[2]}" at=3 ;;
{{- end }}{{ end }}
    esac
    case $cmd in
{{- range leaves . }}
    {{ quote .Name }})
        flags="{{ range .Flags }}-{{ .Name }} {{ end }}"
        files=" {{ range .Flags }}{{ if eq .Kind "file" }}-{{ .Name }} {{ end }}{{ end }}"
        dirs=" {{ range .Flags }}{{ if eq .Kind "dir" }}-{{ .Name }} {{ end }}{{ end }}"
        words=" {{ range .Flags }}{{ if eq .Kind "word" }}-{{ .Name }} {{ end }}{{ end }}"
        first="{{ join .First " " }}" node={{ .Node }}
{{- range .Flags }}{{ if eq .Kind "list" }}
        [[ $prev == -{{ .Name }} || $prev == --{{ .Name }} ]] && { COMPREPLY=($(compgen -W "{{ join .List " " }}" -- "$cur")); return; }
        words+="-{{ .Name }} "
{{- end }}{{ end }}
{{- if lt .Takes 0 }}
        for (( i = at; i < COMP_CWORD; i++ )); do
            [[ ${COMP_WORDS[i]} == -- ]] && { COMPREPLY=($(compgen -c -f -- "$cur")); return; }
        done
{{- end }} ;;
{{- end }}
    *) return ;;
    esac
    [[ $prev == --* ]] && prev=${prev#-}
    if [[ $files == *" $prev "* ]]; then compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")); return; fi
    if [[ $dirs == *" $prev "* ]]; then compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")); return; fi
    if [[ $words == *" $prev "* ]]; then return; fi
    if [[ $cur == --* ]]; then COMPREPLY=($(compgen -P - -W "$flags" -- "${cur#-}")); return; fi
    if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "$flags -h" -- "$cur")); return; fi
    # Which of the words beside the flags is this, and which daemon is meant?
    for (( i = at; i < COMP_CWORD; i++ )); do
        w=${COMP_WORDS[i]}
        [[ $w == --* ]] && w=${w#-}
        if [[ $w != -* ]]; then (( word++ )); continue; fi
        [[ ${COMP_WORDS[i+1]} == "=" ]] && (( i++ ))
        if [[ "$files$dirs$words" == *" $w "* ]]; then
            (( i++ ))
            [[ $w == -config || $w == -socket ]] && where+=" $w ${COMP_WORDS[i]}"
        fi
    done
    if (( word == 1 )) && [[ -n $first ]]; then COMPREPLY=($(compgen -W "$first" -- "$cur"))
    elif (( word == node )); then COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" complete-nodes $where 2>/dev/null)" -- "$cur")); fi
}
complete -F _litefence litefence
`

const zshCompletion = `#compdef litefence
# zsh completion for litefence; made by "litefence completion zsh".
_litefence_nodes() {
    local -a nodes where
    local i
    for (( i = 1; i < CURRENT; i++ )); do
        [[ $words[i] == (-|--)(config|socket) ]] && where+=("$words[i]" "$words[i+1]")
    done
    nodes=(${(f)"$(litefence complete-nodes $where 2>/dev/null)"})
    compadd -a nodes
}
_litefence() {
    local -a list
    local cmd=$words[2]
    if (( CURRENT == 2 )); then
        list=(
{{- range . }}
            {{ quote (print .Name ":" (zspec .Does)) }}
{{- end }}
        )
        _describe command list
        return
    fi
    shift words
    (( CURRENT-- ))
    case $cmd in
{{- range . }}{{ if .Subs }}
    {{ .Name }})
        if (( CURRENT == 2 )); then
            list=(
{{- range .Subs }}
                {{ quote (print (last .Name) ":" (zspec .Does)) }}
{{- end }}
            )
            _describe command list
            return
        fi
        cmd="$cmd $words[2]"
        shift words
        (( CURRENT-- )) ;;
{{- end }}{{ end }}
    esac
    case $cmd in
{{- range leaves . }}
    {{ quote .Name }})
        _arguments \
{{- range .Flags }}
            {{ quote (print "-" .Name "[" (zspec .Does) "]" (zvalue .)) }} \
{{- end }}
{{- if .First }}
            {{ quote (print "1:word:(" (join .First " ") ")") }} \
{{- end }}
{{- if .Node }}
            {{ quote (print .Node ":node:_litefence_nodes") }} \
{{- end }}
{{- if lt .Takes 0 }}
            '*::command:_normal' \
{{- end }}
            && return ;;
{{- end }}
    esac
}
_litefence "$@"
`

const fishCompletion = `# fish completion for litefence; made by "litefence completion fish".
function __litefence_is
    set -l words (commandline -opc)
    set -l to (math 1 + (count $argv))
    test (count $words) -ge $to; and test "$words[2..$to]" = "$argv"
end
function __litefence_new
    test (count (commandline -opc)) -eq (math 1 + (count $argv)); and __litefence_is $argv
end
function __litefence_word
    # The words after the command that are no flags; the values of flags count too,
    # so that this is right where flags stand last.
    set -l words (commandline -opc)[2..-1]
    test (count (string match -v -- '-*' $words)) -eq $argv[1]
end
complete -c litefence -f
{{- range . }}
complete -c litefence -n 'test (count (commandline -opc)) -eq 1' -a {{ .Name }} -d {{ fquote .Does }}
{{- $group := . }}
{{- range .Subs }}
complete -c litefence -n '__litefence_new {{ $group.Name }}' -a {{ last .Name }} -d {{ fquote .Does }}
{{- end }}
{{- end }}
{{- range leaves . }}
{{- $cmd := . }}
{{- range .Flags }}
complete -c litefence -n '__litefence_is {{ $cmd.Name }}' -o {{ .Name }} -d {{ fquote .Does }}
{{- if eq .Kind "file" }} -r -F{{ else if eq .Kind "dir" }} -x -a '(__fish_complete_directories)'{{ else if eq .Kind "list" }} -x -a {{ fquote (join .List " ") }}{{ else if eq .Kind "word" }} -x{{ end }}
{{- end }}
{{- if .First }}
complete -c litefence -n '__litefence_new {{ .Name }}' -a {{ fquote (join .First " ") }}
{{- end }}
{{- if .Node }}
complete -c litefence -n '__litefence_is {{ .Name }}; and __litefence_word {{ fishwords . }}' -a '(litefence complete-nodes 2>/dev/null)'
{{- end }}
{{- if lt .Takes 0 }}
complete -c litefence -n '__litefence_is {{ .Name }}; and contains -- -- (commandline -opc)' -F -a '(__fish_complete_command)'
{{- end }}
{{- end }}
`
